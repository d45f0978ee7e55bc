import { randomInt, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createPasswordHasher } from '../../auth-server/accounts/password.ts'
import { createAccountId } from '../../auth-server/admin/users.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Browser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { authorizationUrl, makePkce, requestToken } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { withCourse } from '../support/issuance-race.ts'
import { startServerProcess, writeConfig } from '../support/process.ts'
import { REDIRECT } from '../support/server.ts'
import { account } from '../storage/records.ts'
import { untilAnswered } from '../storage/world.ts'
import { createRandom } from './random.ts'

const { isMissing, note } = needEngines('postgres')

/** As far as clocks may be apart that nobody has looked after. */
const APART_MS = 2500
const ROUNDS = 40
/** So many sign in at each end, half of them at each server, each one after the other. */
const SIGN_INS = 8
const AT_ONCE = 4
/** Each sends a password, has an answer to it, has one to their consent. */
const STEPS = 3
const OLD = 'the old password'

/** How far somebody has come. */
interface Attempt {
  readonly browser: Browser
  readonly url: string
  readonly verifier: string
  /** Empty where it came to none. */
  readonly code: string
}

describe.skipIf(isMissing)(
  `people who sign in at two processes on PostgreSQL, five seconds apart${note}`,
  () => {
    test(
      'are nowhere with a password that was replaced meanwhile',
      { timeout: 600_000 },
      async () => {
        await using postgres = await startPostgres({ fsync: false })
        const { url: database } = postgres
        using folder = makeFolder()
        const config = writeConfig(folder.path, (base) => ({
          ...withCourse(base),
          database: { url: database },
        }))
        const options = { folder: folder.path }
        const start = (aheadMilliseconds: number) =>
          startServerProcess(config, { ...options, aheadMilliseconds })
        await using ahead = await start(APART_MS)
        await using behind = await start(-APART_MS)
        await using stores = await openStores(database, systemClock)
        const hasher = createPasswordHasher({ concurrency: 2, queue: 8 })
        const [oldHash, newHash] = [await hasher.hash(OLD), await hasher.hash('another')]
        const random = createRandom(randomInt(2 ** 31))
        let begun = 0
        const alive: string[] = []
        for (let round = 0; round < ROUNDS; round += 1) {
          const id = createAccountId()
          const username = `user-${randomUUID()}`
          const person = { id, username, passwordHash: oldHash, roles: ['reader'] }
          await stores.accounts.insert(account(person))
          const end = (passwordHash: string) =>
            untilAnswered(() => stores.accounts.updateAndEndAccess({ id, passwordHash }))
          const progress = createProgress()
          const ending = async () => {
            const at = random.below(STEPS * SIGN_INS)
            await progress.reaches(random.below(at + 1))
            // With the old one still: who has signed in since is dated in the next second.
            if (random.below(2) === 0) await end(oldHash)
            await progress.reaches(at)
            await end(newHash)
          }
          const attempts: Attempt[] = []
          const signing = Array.from({ length: AT_ONCE }, async (_, index) => {
            const { url } = index % 2 === 0 ? ahead : behind
            for (let count = 0; count < SIGN_INS / AT_ONCE; count += 1) {
              attempts.push(await signIn(url, username, progress))
            }
          })
          await Promise.all([...signing, ending()])
          await nextSecond()
          for (const attempt of attempts) {
            if (attempt.code !== '') begun += 1
            alive.push(...(await listAlive(attempt)))
          }
        }
        console.log({ begun, of: ROUNDS * SIGN_INS, alive: alive.length })
        expect(alive).toEqual([])
        // They did race.
        expect(begun).toBeGreaterThan((ROUNDS * SIGN_INS) / 20)
        expect(begun).toBeLessThan((ROUNDS * SIGN_INS * 19) / 20)
      },
    )
  },
)

interface Progress {
  step(): void
  /** Resolves after so many steps of everybody together. */
  reaches(count: number): Promise<void>
}

function createProgress(): Progress {
  let steps = 0
  const waiting: { readonly count: number; readonly go: () => void }[] = []
  return {
    step() {
      steps += 1
      for (const { count, go } of waiting) if (count === steps) go()
    },
    reaches(count) {
      return new Promise((go) => (count <= steps ? go() : void waiting.push({ count, go })))
    },
  }
}

async function signIn(url: string, username: string, { step }: Progress): Promise<Attempt> {
  const browser = createBrowser(url)
  const { verifier, challenge } = makePkce()
  let page = await browser.get(authorizationUrl(url, challenge))
  step()
  page = await browser.submit(page, '/sign-in', { username, password: OLD })
  step()
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  step()
  const code = page.location && new URL(page.location).searchParams.get('code')
  return { browser, url, verifier, code: code ?? '' }
}

/** What still lets somebody in. */
async function listAlive({ browser, url, verifier, code }: Attempt): Promise<string[]> {
  const silently = authorizationUrl(url, makePkce().challenge, { prompt: 'none' })
  const answer = new URL((await browser.get(silently)).location ?? '').searchParams
  const own = await browser.get(`${url}/account`)
  const request = { grant_type: 'authorization_code', code, code_verifier: verifier }
  const redeemed =
    code === '' ? undefined : await requestToken(url, { ...request, redirect_uri: REDIRECT })
  return [
    ...(answer.get('error') === 'login_required' ? [] : ['session']),
    ...(own.text.includes('/sign-in"') ? [] : ['page']),
    ...(redeemed?.status === 200 ? ['code'] : []),
  ]
}
