import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test, vi } from 'vitest'
import { createAuditKey, verifyLog, type AuditEntry } from '../../auth-server/audit/audit.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import { deriveKey, parseRootKey } from '../../auth-server/keys/seal.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer } from '../../auth-server/server.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser } from '../support/browser.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  makePkce,
  obtainTokens,
  refresh,
  requestToken,
} from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  BASE_CONFIG,
  ENVIRONMENT,
  PASSWORDS,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

const SERVICE = { authorization: basic('service', SERVICE_SECRET) }

/** The whole log of a server, by the way of everybody who can read its folder. */
async function readAudit(folder: string) {
  await using stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const rootKey = parseRootKey(readFileSync(path.join(folder, 'portreeve.key'), 'utf8').trim())
  const verdict = await verifyLog(stores.audit, createAuditKey(deriveKey(rootKey, 'audit')))
  const entries = await stores.audit.page(undefined, 100_000)
  const accounts = new Map((await stores.accounts.list()).map(({ id, username }) => [id, username]))
  return { verdict, entries, accounts }
}

/** Reads until an entry is there: a server writes when it has answered. */
function readUntil(
  server: Pick<TestServer, 'folder'>,
  isThere: (entries: readonly AuditEntry[]) => boolean,
) {
  const read = async () => {
    const audit = await readAudit(server.folder)
    if (!isThere(audit.entries)) throw new Error('it was not recorded')
    return audit
  }
  return vi.waitFor(read, { timeout: 15_000, interval: 20 })
}

const hasEvent = (event: string) => (entries: readonly AuditEntry[]) =>
  entries.some((entry) => entry.event === event)

describe('what happens at a server is in the audit log', () => {
  test('a whole flow, each step once, with who it was and the id of the request', async () => {
    await using server = await startServer()
    const tokens = await obtainTokens(server.issuer)
    const next = await refresh(server.issuer, tokens.refresh_token)
    await requestToken(
      server.issuer,
      { grant_type: 'client_credentials', scope: 'notes:read' },
      SERVICE,
    )
    const end = new URL('/session/end', server.issuer)
    end.searchParams.set('id_token_hint', next.body.id_token)
    const page = await tokens.browser.get(end.href)
    await tokens.browser.submit(page, '/confirm', { logout: 'yes' })
    const { verdict, entries, accounts } = await readUntil(server, hasEvent('signed_out'))
    const alice = [...accounts].find(([, name]) => name === 'alice')?.[0]
    const flow = entries.filter(({ event }) => event !== 'object_changed')
    expect(
      flow.map(({ event, by, accountId, clientId, facts }) => [
        event,
        by,
        accountId,
        clientId,
        JSON.parse(facts),
      ]),
    ).toEqual([
      ['signed_in', 'user', alice, 'web', {}],
      ['consent_given', 'user', alice, 'web', { scopes: ['openid', 'notes:read'] }],
      [
        'token_issued',
        'client',
        alice,
        'web',
        { grantType: 'authorization_code', scope: 'openid notes:read' },
      ],
      [
        'token_issued',
        'client',
        alice,
        'web',
        { grantType: 'refresh_token', scope: 'openid notes:read' },
      ],
      [
        'token_issued',
        'client',
        undefined,
        'service',
        { grantType: 'client_credentials', scope: 'notes:read' },
      ],
      ['signed_out', 'user', alice, 'web', {}],
    ])
    for (const { requestId, event } of flow) {
      expect(server.logged()).toMatch(new RegExp(`"requestId":"${requestId}","event":"${event}"`))
    }
    const changed = entries.filter(({ event }) => event === 'object_changed')
    expect(new Set(changed.map(({ by }) => by))).toEqual(new Set(['file', 'server']))
    expect(changed.filter(({ by }) => by === 'file')).toHaveLength(6)
    expect(verdict).toMatchObject({ ok: true, entries: entries.length })
  })

  test('a code and a refresh token that come twice, one after the other or at once', async () => {
    await using server = await startServer((config) => ({
      ...config,
      tokens: { refreshRetryWindowSeconds: 0 },
    }))
    const tokens = await obtainTokens(server.issuer)
    await refresh(server.issuer, tokens.refresh_token)
    await refresh(server.issuer, tokens.refresh_token)
    const { code, verifier } = await authorize(server.issuer)
    const body = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    await requestToken(server.issuer, body)
    await requestToken(server.issuer, body)
    const again = await obtainTokens(server.issuer)
    await Promise.all([1, 2, 3].map(() => refresh(server.issuer, again.refresh_token)))
    const isReuse = ({ event }: AuditEntry) => event === 'credential_reused'
    const { entries } = await readUntil(server, (log) => log.filter(isReuse).length >= 3)
    const reused = entries.filter(isReuse)
    expect(reused[0]).toMatchObject({
      by: 'client',
      clientId: 'web',
      accountId: expect.stringMatching(/^acc_/),
    })
    expect(
      reused.map(({ facts }) => (JSON.parse(facts) as { kind: string }).kind).slice(0, 3),
    ).toEqual(['RefreshToken', 'AuthorizationCode', 'RefreshToken'])
    for (const { clientId } of reused) expect(clientId).toBe('web')
    // Of those at once, the last may find the family gone, and nothing that names it.
    for (const { facts } of reused.slice(0, 2)) expect(facts).toMatch(/"grantId":"[\w-]{43}"/)
  })

  test('wrong passwords and secrets of those who are known, and nothing of strangers', async () => {
    await using server = await startServer()
    const browser = createBrowser(server.issuer)
    let page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    const guess = async (username: string) => {
      page = await browser.submit(page, '/sign-in', { username, password: 'a wrong password' })
    }
    await guess('alice')
    for (let n = 0; n < 5; n += 1) await guess(`nobody-${n}`)
    const body = { grant_type: 'client_credentials' }
    await requestToken(server.issuer, body, { authorization: basic('service', 'a wrong secret') })
    await requestToken(server.issuer, body, { authorization: basic('stranger', 'a wrong secret') })
    await requestToken(server.issuer, body, { authorization: 'Basic x' })
    await requestToken(server.issuer, { grant_type: 'authorization_code', code: 'x' })
    await fetch(`${server.url}/auth?client_id=stranger`)
    await fetch(`${server.url}/userinfo`, { headers: { authorization: 'Bearer x' } })
    await browser.get(authorizationUrl(server.issuer, makePkce().challenge, { scope: 'nothing' }))
    // Cancelling without having signed in.
    await browser.submit(page, '/cancel')
    await guess('alice').catch(() => {})
    await requestToken(server.issuer, { ...body, scope: 'notes:read' }, SERVICE)
    const { entries } = await readUntil(server, hasEvent('token_issued'))
    const flow = entries.filter(({ event }) => event !== 'object_changed')
    expect(flow.map(({ event, by, clientId, facts }) => [event, by, clientId, facts])).toEqual([
      ['sign_in_refused', 'stranger', undefined, '{"reason":"wrong_password"}'],
      ['client_authentication_refused', 'stranger', 'service', '{"reason":"wrong_secret"}'],
      expect.arrayContaining(['token_issued', 'client', 'service']),
    ])
  })

  test('holds no secret that ever passed, nor do the log and the metrics', async () => {
    await using server = await startServer((config) => ({ ...config, metrics: { port: 0 } }))
    const { code, verifier, browser } = await authorize(server.issuer, {
      scope: 'openid offline_access notes:read',
    })
    const { body } = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    const refreshed = await refresh(server.issuer, body.refresh_token)
    await refresh(server.issuer, refreshed.body.refresh_token)
    await refresh(server.issuer, body.refresh_token)
    const typo = createBrowser(server.issuer)
    const page = await typo.get(authorizationUrl(server.issuer, makePkce().challenge))
    await typo.submit(page, '/sign-in', {
      username: 'a password in the wrong field',
      password: 'another password',
    })
    await requestToken(
      server.issuer,
      { grant_type: 'client_credentials' },
      { authorization: basic('service', 'a-wrong-secret-of-some-length') },
    )
    const { entries } = await readUntil(server, hasEvent('credential_reused'))
    const metrics = await (await fetch(server.metricsUrl)).text()
    const secrets = [
      ...Object.values(PASSWORDS).filter((password) => password.length > 8),
      WEB_SECRET,
      SERVICE_SECRET,
      code,
      verifier,
      body.access_token,
      body.refresh_token,
      body.id_token,
      refreshed.body.refresh_token,
      refreshed.body.access_token,
      'a password in the wrong field',
      'another password',
      'a-wrong-secret-of-some-length',
      readFileSync(path.join(server.folder, 'portreeve.key'), 'utf8').trim(),
      ...browser
        .cookies()
        .map(({ value }) => value)
        .filter((value) => value.length > 15),
    ]
    expect(secrets.length).toBeGreaterThan(15)
    for (const text of [JSON.stringify(entries), server.logged(), metrics]) {
      for (const secret of secrets) expect(text).not.toContain(secret)
    }
  })
})

test('what strangers can make a server keep has a bound', async () => {
  const many = { attempts: 10_000, windowSeconds: 60 }
  await using server = await startServer((config) => ({
    ...config,
    metrics: { port: 0 },
    signIn: { perAccount: many, perAddress: many, overall: many },
  }))
  const body = { grant_type: 'client_credentials' }
  for (let n = 0; n < 105; n += 1) {
    await requestToken(server.issuer, body, { authorization: basic('web', `wrong secret ${n}`) })
  }
  const { entries, verdict } = await readUntil(server, hasEvent('audit_limited'))
  const refused = entries.filter(({ event }) => event === 'client_authentication_refused')
  expect(refused).toHaveLength(100)
  expect(entries.filter(({ event }) => event === 'audit_limited')).toHaveLength(1)
  expect(verdict.ok).toBe(true)
  const metrics = await (await fetch(server.metricsUrl)).text()
  const [, leftOut] = /^portreeve_audit_left_out_entries_total (\d+)$/m.exec(metrics) ?? []
  const [, counted] =
    /^portreeve_client_authentication_refused_total[{]reason="wrong_secret"[}] (\d+)$/m.exec(
      metrics,
    ) ?? []
  expect(Number(counted)).toBeGreaterThan(100)
  expect(Number(leftOut)).toBe(Number(counted) - 100)
})

/** A server in a folder that stays when it has stopped. */
async function startIn(folder: string, lines: string[] = []) {
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const loaded = prepareConfig(BASE_CONFIG, { folder, environment: ENVIRONMENT })
  return createAuthServer(loaded, { log })
}

test('a server that stops has written everything, and its log says how far the chain came', async () => {
  using folder = makeFolder()
  const lines: string[] = []
  const server = await startIn(folder.path, lines)
  const body = { grant_type: 'client_credentials', scope: 'notes:read' }
  const answers = await Promise.all(
    Array.from({ length: 150 }, () => requestToken(server.issuer, body, SERVICE)),
  )
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(150)
  await server[Symbol.asyncDispose]()
  const { entries, verdict } = await readAudit(folder.path)
  expect(entries.filter(({ event }) => event === 'token_issued')).toHaveLength(150)
  expect(verdict).toMatchObject({ ok: true, entries: entries.length })
  const newest = entries.at(-1)
  const heads = lines.filter((line) => line.includes('"audit_head"'))
  expect(heads.at(-1)).toContain(`"sequence":${newest?.sequence},"hash":"${newest?.hash}"`)
})

test('a server with another root key does not start, and adds nothing', async () => {
  using folder = makeFolder()
  await (await startIn(folder.path))[Symbol.asyncDispose]()
  const before = await readAudit(folder.path)
  const file = folder.file('portreeve.key')
  const key = readFileSync(file)
  writeFileSync(file, randomBytes(32).toString('base64url'))
  await expect(startIn(folder.path)).rejects.toMatchObject({
    code: 'misconfigured',
    message: expect.stringContaining(
      'The audit log in the database was written under another root key',
    ),
  })
  writeFileSync(file, key)
  expect((await readAudit(folder.path)).entries).toEqual(before.entries)
})

test('what cannot be written waits, and is written when it can', async () => {
  await using server = await startServer()
  await readUntil(server, hasEvent('object_changed'))
  using database = new DatabaseSync(path.join(server.folder, 'portreeve.sqlite'), { timeout: 5000 })
  // Everything but the audit log can be written.
  database.exec('alter table audit_entry rename to audit_entry_elsewhere')
  const body = { grant_type: 'client_credentials', scope: 'notes:read' }
  const { status } = await requestToken(server.issuer, body, SERVICE)
  expect(status).toBe(200)
  await vi.waitFor(() => expect(server.logged()).toContain('"event":"audit_write_failed"'))
  database.exec('alter table audit_entry_elsewhere rename to audit_entry')
  const { entries, verdict } = await readUntil(server, hasEvent('token_issued'))
  expect(verdict).toMatchObject({ ok: true, entries: entries.length })
})
