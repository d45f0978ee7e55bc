import { readType } from './authority.ts'
import { IssuerError } from './errors.ts'
import { parseJsonObject, type JsonObject } from './json.ts'
import type { VerificationKey } from './jwk.ts'
import type { KeySet } from './key-set.ts'
import { createTokenParser, type TokenHeader } from './signature.ts'

export interface SignedMessageSettings {
  /** What it is, for whoever reads that it is not good. */
  readonly name: string
  /** Its `typ`, so that nothing else which the issuer signs is taken for it. */
  readonly type: string
  readonly algorithms: readonly string[]
  readonly maxLength: number
}

/** What an issuer has signed, beside access tokens. */
export interface SignedMessageReader {
  /** Its claims, of which none is checked yet. Throws an `IssuerError` for one that is not good. */
  read(text: string): Promise<JsonObject>
}

/**
 * Reads JWTs of one type that are signed by one of the issuer's published keys. Does not look at what
 * they say, nor decrypt. `isRevoked`: keys that are not believed, though they are still published.
 */
export function createSignedMessageReader(
  keys: KeySet,
  { name, type, algorithms, maxLength }: SignedMessageSettings,
  isRevoked: (keyId: string) => boolean = () => false,
): SignedMessageReader {
  const parser = createTokenParser(algorithms, maxLength)
  return {
    async read(text) {
      const parsed = parser.parse(text)
      if (!parsed.ok) throw refuseMessage(name, 'is no JWT that is signed', parsed.reason)
      const { header, payload, signed, signature } = parsed.value
      if (readType(header.type) !== type) {
        throw refuseMessage(name, 'is of another type', header.type)
      }
      const key = await findKey(keys, name, header)
      if (!key.isSigner(signed, signature) || isRevoked(key.id ?? '')) {
        throw refuseMessage(name, 'is not signed by its key', header.keyId)
      }
      parser.remember(parsed.value)
      const claims = parseJsonObject(payload)
      if (!claims.ok) throw refuseMessage(name, `is JSON: ${claims.reason}`, undefined)
      return claims.value
    },
  }
}

async function findKey(
  keys: KeySet,
  name: string,
  { keyId, algorithm }: TokenHeader,
): Promise<VerificationKey> {
  const lookup = await keys.find(keyId, algorithm)
  if (lookup.kind === 'found') return lookup.key
  if (lookup.kind !== 'keys_unavailable') {
    throw refuseMessage(name, `names no key: ${lookup.kind}`, keyId)
  }
  const { cause } = lookup
  const { code = 'unreachable' } = (cause ?? {}) as Partial<IssuerError>
  const message = `the keys that ${name} is signed with cannot be had`
  throw new IssuerError(code === 'bad_answer' ? 'turned_away' : code, message, { cause })
}

export function refuseMessage(name: string, why: string, actual: unknown): IssuerError {
  return new IssuerError('bad_answer', `${name} ${why}`, { cause: { actual } })
}
