import { DatabaseSync } from 'node:sqlite'
import path from 'node:path'
import { expect, test } from 'vitest'
import { basic, requestToken } from '../support/flow.ts'
import { SERVICE_SECRET, startServer } from '../support/server.ts'

const SERVICE = { authorization: basic('service', SERVICE_SECRET) }
const AT_ONCE = 50
/** What may wait, what is on its way, and some more. */
const MOST = 9000

/** How often the metric was counted. */
async function read(metricsUrl: string, name: string): Promise<number> {
  const text = await (await fetch(metricsUrl)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}

test('no token is issued that would not be recorded, and each that was is recorded in the end', async () => {
  await using server = await startServer((config) => ({ ...config, metrics: { port: 0 } }))
  using database = new DatabaseSync(path.join(server.folder, 'portreeve.sqlite'), { timeout: 5000 })
  // Everything but the audit log can be written.
  database.exec('alter table audit_entry rename to audit_entry_elsewhere')
  const body = { grant_type: 'client_credentials', scope: 'notes:read' }
  let issued = 0
  let refused = 0
  const ask = async () => {
    for (let asked = 0; asked < MOST / AT_ONCE && refused < AT_ONCE; asked += 1) {
      const { status, headers } = await requestToken(server.issuer, body, SERVICE)
      if (status === 200) issued += 1
      if (status === 503 && headers.get('retry-after') === '1') refused += 1
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, ask))
  expect(refused).toBeGreaterThanOrEqual(AT_ONCE)
  expect(issued).toBeGreaterThan(7000)
  expect((await requestToken(server.issuer, body, SERVICE)).status).toBe(503)
  expect((await fetch(`${server.url}/jwks`)).status).toBe(200)
  database.exec('alter table audit_entry_elsewhere rename to audit_entry')
  const count = () =>
    database.prepare(`select count(*) as n from audit_entry where event = 'token_issued'`).get()
  await expect.poll(count, { timeout: 60_000 }).toEqual({ n: issued })
  expect((await requestToken(server.issuer, body, SERVICE)).status).toBe(200)
  expect(await read(server.metricsUrl, 'portreeve_audit_lost_entries_total')).toBe(0)
})
