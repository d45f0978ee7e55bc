import { DatabaseSync } from 'node:sqlite'
import type { Account } from '../../auth-server/accounts/account.ts'
import { systemClock, type Clock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
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

type Begin = (server: TestServer) => Promise<() => Promise<TokenAnswer>>

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

/** Works on the database of the running server, as the command line does. */
export async function withAlice(
  { folder }: TestServer,
  work: (account: Account, stores: Stores) => Promise<unknown>,
  databaseClock?: Clock,
): Promise<void> {
  const url = `sqlite:${folder}/portreeve.sqlite`
  await using stores = await openStores(url, systemClock, { databaseClock })
  const account = await stores.accounts.findByUsername('alice')
  if (!account) throw new Error('no alice')
  await work(account, stores)
}

/** Ends alice's access as if everything were written afterwards: by requests that had begun before. */
export async function endBeforeWrites(server: TestServer, databaseClock?: Clock): Promise<void> {
  using database = new DatabaseSync(`${server.folder}/portreeve.sqlite`)
  database.exec('create table late as select * from engine_model; delete from engine_model')
  const end = (account: Account, { accounts }: Stores) => accounts.updateAndEndAccess(account)
  await withAlice(server, end, databaseClock)
  database.exec('insert into engine_model select * from late; drop table late')
}
