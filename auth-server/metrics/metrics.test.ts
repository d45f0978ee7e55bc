import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'
import { classifyRoute } from './routes.ts'

const DOCUMENT = path.join(import.meta.dirname, '../../docs/audit-and-metrics.md')

test.each([
  ['/auth', 'authorization'],
  ['/auth?client_id=web&state=x', 'authorization'],
  ['/auth/k3J9_s-sdf', 'authorization'],
  ['/auth/k3J9/more', 'other'],
  ['/token', 'token'],
  ['/token/', 'other'],
  ['/TOKEN', 'other'],
  ['/request', 'pushed_authorization_request'],
  ['/introspect', 'introspection'],
  ['/revoke', 'revocation'],
  ['/userinfo', 'userinfo'],
  ['/jwks', 'jwks'],
  ['/.well-known/openid-configuration', 'discovery'],
  ['/.well-known/oauth-authorization-server', 'discovery'],
  ['/.well-known/anything', 'other'],
  ['/session/end', 'end_session'],
  ['/session/end/confirm', 'end_session'],
  ['/interaction/k3J9/sign-in', 'interaction'],
  ['/assets/pico.a1b2.css', 'asset'],
  ['/livez', 'probe'],
  ['/readyz?x', 'probe'],
  ['/metrics', 'other'],
  ['/', 'other'],
  ['', 'other'],
  ['?', 'other'],
  ['*', 'other'],
  ['http://127.0.0.1/token', 'other'],
])('a request for %s is one of the class %s', (url, route) => {
  expect(classifyRoute(url)).toBe(route)
})

/** Name and labels of everything of ours that is counted. */
async function listOurs(): Promise<Map<string, string[]>> {
  const metrics = createMetrics()
  metrics.startRequest('token')('2xx')
  metrics.count('tokenIssued', { grant_type: 'other' })
  metrics.audit.wrote(5, 0.01)
  const { text } = await metrics.render()
  const names = [...text.matchAll(/^# TYPE (portreeve_\w+) /gm)].map(([, name = '']) => name)
  return new Map(
    names.map((name) => {
      const labels = [...text.matchAll(new RegExp(`^${name}(?:_bucket)?[{](.*)[}]`, 'gm'))]
      const used = labels.flatMap(([, list = '']) => [...list.matchAll(/(\w+)="/g)])
      return [name, [...new Set(used.map(([, label = '']) => label))]]
    }),
  )
}

test('every metric stands in the documentation, and nothing else does', async () => {
  const rows = [...readFileSync(DOCUMENT, 'utf8').matchAll(/^\| `(portreeve_\w+)` \| (.*?)\|/gm)]
  const documented = new Map(
    rows.map(([, name = '', labels = '']) => [
      name,
      [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
    ]),
  )
  const ours = await listOurs()
  expect([...documented.keys()].toSorted()).toEqual([...ours.keys()].toSorted())
  expect(documented.get('portreeve_http_request_duration_seconds')).toEqual(['route', 'status'])
  expect(documented.get('portreeve_token_issued_total')).toEqual(['grant_type'])
  for (const name of ['portreeve_http_request_duration_seconds', 'portreeve_token_issued_total']) {
    expect(
      ours
        .get(name)
        ?.filter((label) => label !== 'le')
        .toSorted(),
    ).toEqual(documented.get(name))
  }
})

test("two servers in one process count apart, and share what is the process's", async () => {
  const [one, two] = [createMetrics(), createMetrics()]
  one.count('signedIn', {})
  const texts = [await one.render(), await two.render()]
  expect(texts.map(({ type }) => type)).toEqual(
    Array(2).fill(expect.stringMatching(/^text\/plain/)),
  )
  expect(texts.map(({ text }) => /^portreeve_signed_in_total (\d)$/m.exec(text)?.[1])).toEqual([
    '1',
    '0',
  ])
  for (const { text } of texts) {
    expect(text).toMatch(/^process_cpu_seconds_total [\d.]+$/m)
    expect(text).toMatch(/^nodejs_heap_size_used_bytes \d+$/m)
    // Prometheus takes no metric twice.
    const types = [...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name)
    expect(new Set(types).size).toBe(types.length)
  }
})

test('the audit log is measured', async () => {
  const { audit, render } = createMetrics()
  audit.waiting(7)
  audit.wrote(3, 0.02)
  audit.wrote(100, 0.2)
  audit.failed()
  audit.lost(4)
  audit.leftOut()
  const { text } = await render()
  const lines = [
    'portreeve_audit_queue_entries 7',
    'portreeve_audit_batch_entries_sum 103',
    'portreeve_audit_batch_entries_count 2',
    'portreeve_audit_batch_entries_bucket{le="5"} 1',
    'portreeve_audit_write_duration_seconds_count 2',
    'portreeve_audit_write_failures_total 1',
    'portreeve_audit_lost_entries_total 4',
    'portreeve_audit_left_out_entries_total 1',
  ]
  expect(text.split('\n')).toEqual(expect.arrayContaining(lines))
})
