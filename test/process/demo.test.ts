import { expect, test } from 'vitest'
import type { EndReport, RunReport, StartReport, StepReport } from '../../client-demo/report.ts'
import { isAlive, runDemo } from '../support/demo-run.ts'

/** In the order of `all`. */
const NAMES = [
  'code',
  'service',
  'logout',
  'revoke',
  'sessions',
  'password',
  'microservices',
  'api-key',
  'par',
  'jar',
  'rar',
  'dpop',
  'mtls',
  'fapi2',
  'step-up',
  'device',
  'ciba',
  'exchange',
  'dcr',
  'cimd',
]

function readReports(stdout: string): {
  readonly start: StartReport
  readonly steps: readonly StepReport[]
  readonly end: EndReport
} {
  const reports = stdout.split('\n').map((line) => JSON.parse(line) as RunReport)
  const start = reports.find((report) => report.type === 'start')
  const end = reports.find((report) => report.type === 'end')
  if (!start || !end) throw new Error(`neither start nor end in ${stdout}`)
  return { start, steps: reports.filter((report) => report.type === 'step'), end }
}

test('shows the whole flow, and leaves nothing behind', async () => {
  const { code, stdout, stderr, left } = await runDemo(['run', '--json'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const { start, steps, end } = readReports(stdout)
  expect(steps.map(({ title }) => title)).toEqual([
    'The client discovers the authorization server',
    'It sends Alice’s browser there, with an authorization request',
    'Alice signs in',
    'Alice agrees, and her browser brings a code back to the client',
    'The client changes the code, with the verifier, for tokens',
    'What the access token says',
    'The client asks who she is',
    'The client writes a note for Alice, and lists hers',
    'Without a token, the API says what it wants',
    'Alice’s token with “admin” written into it is refused',
    'Bob signs in to the same client, and gets less',
    'Bob’s token cannot write',
    'Bob cannot read Alice’s note',
    'An admin sees everyone’s notes',
    'A service comes by itself, and sees none of the people’s notes',
    'A token for another API is refused',
    'A token that lives for 2 seconds is refused after them',
    'The client refreshes',
    'It did not hear the answer, and tries again with the old token',
    'The successor is used, and then somebody comes with the old token',
    'Alice comes again, and is still signed in',
    'Alice signs out, at the server',
    'No token comes from that session any more',
  ])
  for (const step of steps) {
    expect(step.ok).toBe(true)
    expect(step.checks.length).toBeGreaterThan(0)
    expect(step.checks.every(({ ok }) => ok)).toBe(true)
    expect(step.exchanges.length + step.facts.length).toBeGreaterThan(0)
  }
  expect(end).toMatchObject({ type: 'end', ok: true, steps: steps.length })
  expect(start.processes).toHaveLength(2)
  expect(start.processes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(left).toEqual([])
  const last = stdout.split('\n').at(-1) ?? ''
  expect(JSON.parse(last)).toMatchObject({ type: 'summary', ok: true, flows: [end], notRun: [] })
  console.log(`the demonstration took ${end.durationMs} ms without the start of its servers`)
  expect(end.durationMs).toBeLessThan(30_000)
})

test('gives programs values as JSON has them, shortened inside as well', async () => {
  const { stdout } = await runDemo(['run', '--json'])
  const { steps } = readReports(stdout)
  const received = steps[0]?.exchanges[0]?.received
  expect(received).toMatchObject({ code_challenge_methods_supported: ['S256'] })
  const facts = steps.flatMap((step) => step.facts)
  expect(facts.find(({ name }) => name === 'roles')?.value).toEqual(['editor'])
  const answers = steps.flatMap(({ exchanges }) => exchanges.map((exchange) => exchange.received))
  expect(answers.find(({ notes }) => notes !== undefined)).toEqual({
    notes: [
      {
        id: expect.any(String),
        owner: expect.stringMatching(/^acc_.{8}…$/),
        text: 'Oil the hinges of the north gate',
        createdAt: expect.any(String),
      },
    ],
  })
})

test.each([
  ['people', [], /password  \(hidden\)/],
  ['programs', ['--json'], /"password":"\(hidden\)"/],
])('shows %s no password, no secret and no whole token', async (_reader, args, hidden) => {
  const { code, stdout } = await runDemo(['run', ...args])
  expect(code).toBe(0)
  expect(stdout).toMatch(hidden)
  // Passwords have 15 characters, secrets and opaque tokens 43, a JWT has two dots.
  expect(stdout.match(/eyJ[\w-]*\.[\w-]*/g)).toBeNull()
  const words = stdout.match(/[\w-]{15,}/g) ?? []
  expect(words.filter((word) => /[a-z]/.test(word) && /\d/.test(word))).toEqual([])
})

test('fails, and names the step and the reason, when a server ends under it', async () => {
  let killed = ''
  const { code, stdout, left } = await runDemo(['run', '--json'], (line) => {
    const report = JSON.parse(line) as RunReport
    if (report.type !== 'start') return
    const [server] = report.processes
    if (!server) return
    killed = server.name
    process.kill(server.pid, 'SIGKILL')
  })
  expect(code).toBe(1)
  const { start, steps, end } = readReports(stdout)
  const last = steps.at(-1)
  expect(last).toMatchObject({ ok: false })
  expect(last?.failure).toContain(`${killed} ended by itself (SIGKILL)`)
  expect(end).toMatchObject({ ok: false, failed: `${last?.number} ${last?.title}` })
  expect(start.processes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(left).toEqual([])
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('ends its servers and removes its folder on %s', async (signal, expected) => {
  const { code, stdout, left } = await runDemo(['run', '--json'], (line, { kill }) => {
    if (line.includes('"number":4')) kill(signal)
  })
  expect(code).toBe(expected)
  const start = JSON.parse(stdout.split('\n')[0] ?? '') as StartReport
  expect(start.processes.filter(({ pid }) => isAlive(pid))).toEqual([])
  expect(left).toEqual([])
})

test.each([
  [
    'an unknown flow',
    ['run', 'nonsense'],
    /^error: There is no flow “nonsense”\. The flows are code, [a-z0-9, -]+; all runs them all\.\n$/,
  ],
  [
    'a flow with a typo',
    ['run', 'Servise'],
    /^error: There is no flow “Servise”\. Did you mean “service”\? /,
  ],
  ['a typo in all', ['run', 'code', 'al'], /no flow “al”\. Did you mean “all”\?/],
  [
    'a browser where a flow plays its people',
    ['run', 'service', '--browser'],
    /“service” plays its people/,
  ],
  ['an unknown option', ['run', '--nonsense'], /unknown option '--nonsense'/],
  ['an unknown command', ['nonsense'], /unknown command 'nonsense'/],
  ['no command', [], /Usage:/],
  ['a port that is none', ['start', '--port', '70000'], /A port is a number from 0 to 65535/],
])('exits 2 for %s, and says so', async (_case, args, message) => {
  const { code, stdout, stderr } = await runDemo(args)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toMatch(message)
})

test('lists its flows: a name, a sentence and what each needs', async () => {
  const { code, stdout } = await runDemo(['run', '--list', '--json'])
  expect(code).toBe(0)
  const { flows } = JSON.parse(stdout) as {
    readonly flows: readonly Readonly<Record<'name' | 'summary', string> & { needs: string[] }>[]
  }
  expect(flows.map(({ name }) => name)).toEqual(NAMES)
  for (const { summary, needs } of flows) {
    expect(summary).toMatch(/^[a-z].*[^.]$/)
    expect(needs).toContain('authorization server')
  }
  const words = await runDemo(['run', '--list'])
  for (const { name, summary } of flows) {
    expect(words.stdout.replaceAll(/\s+/g, ' ')).toContain(`${name} ${summary} (`)
  }
})

test.each(['foo', 'localhost:6379', 'http://localhost', 'redis:///1', 'redis//:hush-hush@h/name'])(
  'says what a Redis is called where it is told %s, and repeats no password',
  async (url) => {
    const asked = await runDemo(['run', '--redis', url])
    const set = await runDemo(['run'], () => {}, { REDIS_URL: url })
    expect(set).toEqual(asked)
    expect(asked).toMatchObject({ code: 2, stdout: '', left: [] })
    expect(asked.stderr).toMatch(/^error: --redis, or the variable REDIS_URL, is no URL of a Redis/)
    expect(asked.stderr).toContain('Expected redis://HOST:PORT/NUMBER or rediss://')
    expect(asked.stderr).not.toMatch(/[{}]|hush/)
  },
)

test('says in a sentence that no Redis is there', async () => {
  const { code, stderr } = await runDemo(['run', '--redis', 'redis://127.0.0.1:1/0', 'service'])
  expect(code).toBe(1)
  expect(stderr).toMatch(/^ {2}Cannot reach Redis at 127\.0\.0\.1:1: /m)
  expect(stderr).not.toContain('{')
})

test('is as wide as COLUMNS says, where the output is no terminal', async () => {
  const widthOf = async (environment: Readonly<Record<string, string>>) => {
    const { stdout } = await runDemo(['run', 'service'], () => {}, environment)
    return Math.max(...stdout.split('\n').map((line) => Array.from(line).length))
  }
  expect(await widthOf({ COLUMNS: '80' })).toBe(80)
  expect(await widthOf({ COLUMNS: 'wide' })).toBe(100)
  expect(await widthOf({})).toBe(100)
})

test.each([
  ['password', ['direct access']],
  ['api-key', ['direct access']],
  ['microservices', ['old issuer']],
  ['service', []],
])('lists at the head of %s every place that it calls', async (flow, listeners) => {
  const { code, stdout } = await runDemo(['run', flow, '--json'])
  expect(code).toBe(0)
  const { start, steps } = readReports(stdout)
  const names = start.processes.map(({ name }) => name)
  expect(names.filter((name) => /direct|issuer/.test(name))).toEqual(listeners)
  const called = steps.flatMap(({ exchanges }) => exchanges).filter(({ to }) => to !== 'client')
  const places = new Map(start.processes.map(({ name, url }) => [name, url]))
  for (const { to, url } of called) expect([to, new URL(url).origin]).toEqual([to, places.get(to)])
})

test.each(['password', 'microservices', 'mtls', 'fapi2'])(
  'tells requests of %s from one another that look the same',
  async (flow) => {
    const { stdout } = await runDemo(['run', flow, '--json'])
    for (const { title, exchanges } of readReports(stdout).steps) {
      const refused = exchanges.filter(({ status }) => status >= 400)
      const shown = refused.map(({ to, purpose, method, url, sent }) =>
        JSON.stringify([title, to, purpose, method, url, sent]),
      )
      expect(shown).toEqual([...new Set(shown)])
    }
  },
)
