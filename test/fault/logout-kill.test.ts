import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { withClients } from '../support/endpoints.ts'
import { decodeJwt, obtainTokens } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { answerWith, startLogoutReceiver } from '../support/logout-receiver.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { createRandom } from './random.ts'

/** Set `FAULT_SEED` to choose the same moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))
const KILLS = 6
const SESSIONS = 3
/** A look at the queue, and some attempts. */
const LATEST_KILL_MS = 800
/** What a server had claimed that was killed is due again after its lease. */
const BOUND = { timeout: 90_000, interval: 100 }

async function signInAndOut({ issuer }: ServerProcess): Promise<unknown> {
  const { id_token, browser } = await obtainTokens(issuer)
  const page = await browser.get(`${issuer}/session/end?client_id=web`)
  await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
  return decodeJwt(id_token).claims['sid']
}

test(`a server that is killed forgets no client that it has to tell (FAULT_SEED=${SEED})`, async () => {
  const random = createRandom(SEED)
  using folder = makeFolder()
  await using receiver = await startLogoutReceiver()
  const change = withClients({ id: 'web', backchannelLogoutUri: receiver.uri })
  const config = writeConfig(folder.path, change)
  /** Who was told, and has said so, since so many requests. */
  const listTold = (since: number) =>
    receiver.received.slice(since).map(({ token }) => decodeJwt(token).claims['sid'])
  const told = new Set<unknown>()
  const ended: unknown[] = []
  for (let kill = 0; kill < KILLS; kill += 1) {
    // It dies while a client has its request and has not answered, or before, or after.
    const isAnswering = kill % 2 === 1
    const before = receiver.received.length
    receiver.answer = isAnswering ? answerWith(200) : () => {}
    {
      await using server = await startServerProcess(config, { folder: folder.path })
      for (let count = 0; count < SESSIONS; count += 1) ended.push(await signInAndOut(server))
      await wait(random.below(LATEST_KILL_MS))
    }
    if (isAnswering) for (const sid of listTold(before)) told.add(sid)
  }
  console.log(`${ended.length} sessions, ${told.size} told by servers that were killed`)
  const before = receiver.received.length
  receiver.answer = answerWith(200)
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(await startServerProcess(config, { folder: folder.path }))
  await vi.waitFor(() => {
    const all = new Set([...told, ...listTold(before)])
    expect(ended.filter((sid) => !all.has(sid))).toEqual([])
  }, BOUND)
})
