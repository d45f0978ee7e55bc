import { CompiledQuery } from 'kysely'
import type { Account } from '../../auth-server/accounts/account.ts'
import { systemClock, type Clock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openDatabase, openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { answerRequest, ask, pollRequest, withDesks } from './ciba.ts'
import { approve, askForCode, poll } from './device.ts'
import { authorize, obtainTokens, refresh, requestToken, type TokenAnswer } from './flow.ts'
import { REDIRECT, type TestServer } from './server.ts'

/** A configuration in which a person can begin each of `BEGINNINGS`. */
export function withBeginnings(config: ConfigInput): ConfigInput {
  const { clients = [], ...rest } = withDesks()(config)
  const grants = ['authorization_code', 'refresh_token', 'device_code'] as const
  return {
    ...rest,
    clients: clients.map((one) => (one.id === 'web' ? { ...one, grants: [...grants] } : one)),
  }
}

type Begin = (server: Pick<TestServer, 'issuer'>) => Promise<() => Promise<TokenAnswer>>

/** What alice begins; each answers how a client gets its tokens. */
export const BEGINNINGS: readonly (readonly [what: string, begin: Begin])[] = [
  [
    'an approval for a device',
    async (server) => {
      const { user_code, device_code } = (await askForCode(server.issuer)).body
      await approve(server, user_code)
      return () => poll(server.issuer, device_code)
    },
  ],
  [
    'an answer to a request from elsewhere',
    async (server) => {
      const { auth_req_id } = (await ask(server.issuer)).body
      await answerRequest(server, 'alice')
      return () => pollRequest(server.issuer, auth_req_id)
    },
  ],
  [
    'a code',
    async ({ issuer }) => {
      const { code, verifier } = await authorize(issuer)
      const request = { grant_type: 'authorization_code', code, code_verifier: verifier }
      return () => requestToken(issuer, { ...request, redirect_uri: REDIRECT })
    },
  ],
  [
    'a refresh token',
    async ({ issuer }) => {
      const { refresh_token } = await obtainTokens(issuer)
      return () => refresh(issuer, refresh_token)
    },
  ],
]

/** Where the database of a server is that runs in this process. */
export function databaseOf({ folder }: TestServer): string {
  return `sqlite:${folder}/portreeve.sqlite`
}

/** Works on the database of a running server, as the command line does. */
export async function withAlice(
  url: string,
  work: (account: Account, stores: Stores) => Promise<unknown>,
  databaseClock?: Clock,
): Promise<void> {
  await using stores = await openStores(url, systemClock, { databaseClock })
  const account = await stores.accounts.findByUsername('alice')
  if (!account) throw new Error('no alice')
  await work(account, stores)
}

export function endAccess(url: string, databaseClock?: Clock): Promise<void> {
  return withAlice(
    url,
    (account, { accounts }) => accounts.updateAndEndAccess(account),
    databaseClock,
  )
}

/** Ends alice's access as if everything were written afterwards: by requests that had begun before. */
export async function endBeforeWrites(url: string, databaseClock?: Clock): Promise<void> {
  await using database = openDatabase(url)
  const run = (statement: string) => database.kysely.executeQuery(CompiledQuery.raw(statement))
  await run('create table late as select * from engine_model')
  await run('delete from engine_model')
  await endAccess(url, databaseClock)
  await run('insert into engine_model select * from late')
  await run('drop table late')
}
