import { openStores } from './auth-server/storage/stores.ts'
import { systemClock } from './auth-server/clock.ts'
import { rmSync } from 'node:fs'
const url = process.env.URL ?? 'sqlite:/tmp/attack-m/a.sqlite'
if (url.startsWith('sqlite:')) rmSync(url.slice(7), { force: true })
const s = await openStores(url, systemClock)
const N = Number(process.argv[2])
const expiresAt = systemClock.now() + 3600_000
let t = performance.now()
for (let at = 0; at < N; at += 500) {
  await s.models.apply(Array.from({ length: Math.min(500, N - at) }, (_, i) => {
    const uid = `uid ${at + i}`
    const payload = { accountId: 'ann', uid, loginTs: 1, authorizations: { web: { sid: `sid ${at + i}` } } }
    return { kind: 'put', model: 'Session', key: `key ${at + i}`, uid, accountId: 'ann', payload, expiresAt } as const
  }))
}
console.log('insert', performance.now() - t)
for (let i = 0; i < 3; i++) { t = performance.now(); await s.ownAccess.listSessions('ann', 250); console.log('list', performance.now() - t) }
t = performance.now()
const other = s.ownAccess.endOtherSessions('ann', 'uid 0')
let worst = 0
const probe = (async () => { let done = false; void other.finally(() => (done = true)); while (!done) { const b = performance.now(); await s.revocations.append([]).catch(() => {}); await s.models.apply([{ kind: 'put', model: 'Session', key: 'probe', uid: 'probe', accountId: 'bob', payload: { accountId: 'bob', uid: 'probe' }, expiresAt }]).catch((e) => console.log('probe', String(e).slice(0, 200))); worst = Math.max(worst, performance.now() - b) } })()
console.log(await other.catch((e) => String(e)), 'end', performance.now() - t)
await probe
console.log('worst wait of somebody else', worst)
await s[Symbol.asyncDispose]()
