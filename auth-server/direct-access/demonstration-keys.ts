import { dateAccess, type AccountStore } from '../accounts/account.ts'
import { hashApiKey, type StoredApiKey } from '../api-keys/api-key.ts'
import type { DeclaredSecrets } from '../config/secrets.ts'
import { normalizeUsername } from '../config/username.ts'
import type { Resource } from '../scopes/catalogue.ts'

/**
 * The keys that the configuration declares, as if somebody had made them now for this resource. Those of
 * a person whose access is ended later end with it, as the keys that people make do, until the server
 * starts anew.
 */
export async function readDemonstrationKeys(
  accounts: Pick<AccountStore, 'findByUsername'>,
  declared: DeclaredSecrets['demonstrationKeys'],
  resource: Resource,
  readTime: () => Promise<number>,
): Promise<readonly StoredApiKey[]> {
  const keys: StoredApiKey[] = []
  const now = await readTime()
  for (const [index, { key, user }] of declared.entries()) {
    const account = await accounts.findByUsername(normalizeUsername(user))
    if (!account) continue
    keys.push({
      id: `demonstration-${index}`,
      accountId: account.id,
      name: 'demonstration',
      resource: resource.identifier,
      scopes: [...resource.scopes.keys()],
      hash: hashApiKey(key),
      createdAt: dateAccess(account, now),
      expiresAt: undefined,
      lastUsedAt: undefined,
      revokedAt: undefined,
    })
  }
  return keys
}
