import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { expect } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { obtainTokens } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { NOTES } from '../support/server.ts'
import { createPerson, type Counts } from './person.ts'
import { createRandom, type Random } from './random.ts'

const PEOPLE = 4
/** The kill comes after so many actions were begun, and so much later. */
const MOST_ACTIONS = 24
const MOST_MILLISECONDS = 40

/** Nothing but the kill may end a code or a retry window, however slow the machine. */
const patient = (port: number) => (config: ConfigInput) => ({
  ...config,
  issuer: `http://127.0.0.1:${port}`,
  listen: { host: '127.0.0.1', port },
  tokens: { authorizationCodeTtlSeconds: 600, refreshRetryWindowSeconds: 300 },
})

type Person = ReturnType<typeof createPerson>

/** Lets everybody live on the server until it is killed at a random moment. */
async function killDuring(
  server: ServerProcess,
  people: readonly Person[],
  random: Random,
): Promise<void> {
  let isKilled = false
  let actionsLeft = 1 + random.below(MOST_ACTIONS)
  const milliseconds = random.below(MOST_MILLISECONDS)
  const { promise: isTime, resolve } = Promise.withResolvers<void>()
  const lives = people.map((person) =>
    person.live(
      () => isKilled,
      () => {
        actionsLeft -= 1
        if (actionsLeft === 0) resolve()
      },
    ),
  )
  const failed = Promise.all(lives)
  await Promise.race([isTime, failed])
  await wait(milliseconds)
  isKilled = true
  server.signal('SIGKILL')
  await server.ended
  await failed
}

/**
 * Kills a server again and again while people use it, and asks after each time whether everything that
 * was answered for is still true. `seed` chooses the actions and the moments. Answers how often people
 * did what.
 */
export async function surviveKills(
  kills: number,
  seed: number,
  change: (config: ConfigInput) => ConfigInput = (config) => config,
): Promise<Counts> {
  const during = (port: number) => (config: ConfigInput) => change(patient(port)(config))
  using folder = makeFolder()
  const random = createRandom(seed)
  const counts: Counts = {}
  const first = await startServerProcess(writeConfig(folder.path, during(0)), {
    folder: folder.path,
  })
  const config = writeConfig(folder.path, during(Number(new URL(first.issuer).port)))
  const people = Array.from({ length: PEOPLE }, () => createPerson(first.issuer, random, counts))
  const { access_token } = await obtainTokens(first.issuer)
  await killDuring(first, people, random)
  for (let kill = 2; kill <= kills; kill += 1) {
    await using server = await startServerProcess(config, { folder: folder.path })
    for (const person of people) await person.check()
    await killDuring(server, people, random)
  }
  await using last = await startServerProcess(config, { folder: folder.path })
  for (const person of people) await person.check()
  const keys = createRemoteJWKSet(new URL(`${last.issuer}/jwks`))
  const { payload } = await jwtVerify(access_token, keys, {
    issuer: first.issuer,
    audience: NOTES,
  })
  expect(payload.sub).toMatch(/^acc_/)
  using database = new DatabaseSync(last.database, { readOnly: true })
  expect(database.prepare('pragma integrity_check').get()).toEqual({ integrity_check: 'ok' })
  console.log(counts)
  return counts
}
