import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import type { ModelWrite } from '../../auth-server/provider/model-store.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { createRandom, type Random } from '../fault/random.ts'
import { account, client } from './records.ts'
import { consume, createRows, HOUR, readLog, revoke, type WithWorld, type World } from './world.ts'

const WORKERS = 16
const CHANGES_EACH = 60
const ACCOUNTS = ['alice', 'bob', 'carol']
const CLIENTS = ['web', 'spa', 'native']
const UIDS = ['u0', 'u1', 'u2', 'u3']
const TABS = ['t0', 't1', 't2']
/** So few that everybody is in everybody's way. */
const LIVE_GRANTS = 6

/** Set `HUNT_SEED` to choose the same changes again. Which of them meet is up to the machine. */
const SEED = Number(readEnvironment()['HUNT_SEED'] ?? randomInt(2 ** 31))

/** Everything that was ever named, and what was answered for it. */
interface Notes {
  readonly grants: string[]
  /** Those whose row was written and lives on. */
  readonly given: Set<string>
  /** Keys of refresh tokens and codes, by their grant. */
  readonly credentials: [model: string, key: string, grantId: string][]
  readonly used: string[]
  readonly endedUids: Set<string>
  readonly destroyedSessions: Set<string>
  /** A session that was ended never comes back: its uid is given up for another. */
  generation: number
}

export function testHunt(withWorld: WithWorld): void {
  describe('many changes of few things at once', () => {
    test(`fail for no deadlock, and keep every rule (HUNT_SEED=${SEED})`, async () => {
      expect.hasAssertions()
      await withWorld(async (world) => {
        const random = createRandom(SEED)
        const notes: Notes = {
          grants: [],
          given: new Set(),
          credentials: [],
          used: [],
          endedUids: new Set(),
          destroyedSessions: new Set(),
          generation: 0,
        }
        for (const id of ACCOUNTS) await world.stores.accounts.insert(account({ id, username: id }))
        for (const id of CLIENTS) await world.stores.clients.insert(client({ id }))
        const change = createChanges(world, notes, random)
        for (let count = 0; count < LIVE_GRANTS; count += 1) await change.give(world.stores)
        const live = async (stores: Stores) => {
          for (let count = 0; count < CHANGES_EACH; count += 1) {
            await random.pick(change.weighted)(stores)
          }
        }
        await Promise.all(
          Array.from({ length: WORKERS }, (_, index) =>
            live(index % 2 === 0 ? world.stores : world.other),
          ),
        )
        await expectRulesKept(world, notes)
      })
    })
  })
}

/** Whose a grant is, it stays, and with it all that hangs on it. */
function ownerOf(grantId: string) {
  const number = Number(grantId.slice(1))
  return {
    accountId: ACCOUNTS[number % ACCOUNTS.length] ?? '',
    clientId: CLIENTS[Math.floor(number / ACCOUNTS.length) % CLIENTS.length] ?? '',
  }
}

function createChanges({ clock }: World, notes: Notes, random: Random) {
  const { put, grant } = createRows(clock)
  const liveGrant = () => notes.grants[notes.grants.length - 1 - random.below(LIVE_GRANTS)] ?? ''
  const uid = () => `${random.pick(UIDS)} ${notes.generation}`
  const sessionKey = () => `${uid()} ${random.pick(TABS)}`
  const expiresAt = () => clock.now() + (random.below(5) === 0 ? -1 : HOUR)
  const credential = (model: string, grantId: string) => {
    const key = `${model} ${notes.credentials.length}`
    notes.credentials.push([model, key, grantId])
    return put(model, key, { grantId, ...ownerOf(grantId), expiresAt: expiresAt() })
  }
  const session = (): ModelWrite => {
    const id = uid()
    const accountId = random.pick(ACCOUNTS)
    const sid = `sid ${id} ${random.below(3)}`
    const payload = { accountId, uid: id, authorizations: { [random.pick(CLIENTS)]: { sid } } }
    const replaces = random.below(3) === 0 ? `${id} ${random.pick(TABS)}` : undefined
    return put('Session', `${id} ${random.pick(TABS)}`, { uid: id, accountId, payload, replaces })
  }
  const endSession = (): ModelWrite => ({ kind: 'end-session', uid: uid() })
  const destroySession = (): ModelWrite => ({
    kind: 'destroy',
    model: 'Session',
    key: sessionKey(),
  })
  const note = (write: ModelWrite) => {
    if (write.kind === 'destroy' && write.model === 'Session') {
      notes.destroyedSessions.add(write.key)
    }
    if (write.kind === 'end-session') {
      notes.endedUids.add(write.uid)
      if (random.below(3) === 0) notes.generation += 1
    }
  }
  const useOne = async (stores: Stores, more: ModelWrite[] = []) => {
    const [model, key, grantId] = random.pick(notes.credentials.slice(-20))
    const writes = [
      consume(model, key),
      credential('RefreshToken', grantId),
      credential('AccessToken', grantId),
      ...more,
    ]
    const { outcome } = await stores.models.apply(writes)
    if (outcome === 'lost') return
    notes.used.push(`${model} ${key}`)
    more.forEach(note)
  }
  const changes = {
    async give({ models }: Stores) {
      const grantId = `g${notes.grants.length}`
      notes.grants.push(grantId)
      const code = credential('AuthorizationCode', grantId)
      const { outcome } = await models.apply([session(), grant(grantId, ownerOf(grantId)), code])
      if (outcome === 'applied') notes.given.add(grantId)
    },
    use: (stores: Stores) => useOne(stores),
    useAndEnd: (stores: Stores) => useOne(stores, [revoke(liveGrant()), endSession()]),
    async revoke({ models }: Stores) {
      const key = liveGrant()
      await models.apply([random.below(2) ? revoke(key) : { kind: 'destroy', model: 'Grant', key }])
    },
    async many({ models }: Stores) {
      const writes = [revoke(liveGrant()), session(), endSession(), destroySession(), session()]
      const { outcome } = await models.apply(random.below(2) ? writes : writes.toReversed())
      expect(outcome).toBe('applied')
      writes.forEach(note)
    },
    async sessions({ models }: Stores) {
      await models.apply([session()])
      await models.apply([{ kind: 'settle', key: sessionKey() }, session()])
    },
    async endAccess({ accounts }: Stores) {
      const id = random.pick(ACCOUNTS)
      await accounts.updateAndEndAccess(account({ id, username: id }))
    },
    async removeClient({ clients }: Stores) {
      const id = random.pick(CLIENTS)
      await clients.remove(id)
      await clients.insert(client({ id }))
    },
    async purge({ models }: Stores) {
      await models.purge(clock.now(), 1 + random.below(20))
    },
  }
  const { give, use, useAndEnd, many, sessions, endAccess, removeClient, purge } = changes
  const often = [give, give, give, use, use, use, use, sessions, sessions]
  const seldom = [useAndEnd, changes.revoke, many, endAccess, removeClient, purge, purge]
  return { give, weighted: [...often, ...often, ...seldom] }
}

/** What has to be true whatever came before what. */
async function expectRulesKept({ stores }: World, notes: Notes): Promise<void> {
  const { models, revocations } = stores
  const broken: string[] = []
  for (const grantId of notes.grants) {
    const isRevoked = await revocations.isRevoked('grant', grantId)
    const isThere = (await models.find('Grant', grantId)) !== undefined
    if (isRevoked && isThere) broken.push(`${grantId} is revoked and there`)
    if (!isRevoked && !isThere && notes.given.has(grantId)) broken.push(`${grantId} is lost`)
  }
  for (const [model, key, grantId] of notes.credentials) {
    const isThere = (await models.find(model, key)) !== undefined
    if (isThere && (await revocations.isRevoked('grant', grantId))) {
      broken.push(`${key} of the revoked ${grantId} is there`)
    }
  }
  if (new Set(notes.used).size !== notes.used.length) broken.push('something was used twice')
  for (const uid of notes.endedUids) {
    if (await models.findByUid('Session', uid)) broken.push(`the session ${uid} has risen`)
  }
  for (const key of notes.destroyedSessions) {
    if (await models.find('Session', key)) broken.push(`the row ${key} has risen`)
  }
  const log = await readLog(stores)
  const places = log.map(({ sequence }) => sequence)
  expect(places).toEqual(places.map((_, index) => index + 1))
  expect(broken).toEqual([])
  expect(notes.used.length).toBeGreaterThan(0)
}
