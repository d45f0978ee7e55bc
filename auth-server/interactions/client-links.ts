import type { Client } from '../clients/client.ts'

/** Pages of an application on one host, as the consent page leads there. */
interface ClientPages {
  readonly host: string
  readonly links: readonly { readonly words: string; readonly uri: string }[]
}

const WORDS = { home: 'Website', terms: 'Terms of use', policy: 'Privacy policy' } as const

/**
 * The pages of an application that a person may read before they agree. Those of an application that
 * nobody has vouched for are shown only where they are on the host that the person is sent back to, or
 * that the app is described on, and reads of: otherwise a stranger's app could adorn itself with the
 * terms, and the name, of another.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-5 RFC 7591 §5}
 */
export function listClientLinks(
  { id, links = {}, owner }: Pick<Client, 'id' | 'links' | 'owner'>,
  returnTo: string | undefined,
): readonly ClientPages[] {
  const own = owner === 'document' ? URL.parse(id)?.host : returnTo
  const isVouchedFor = owner === 'file' || owner === 'operator'
  const pages = (['home', 'terms', 'policy'] as const).flatMap((name) => {
    const uri = links[name]
    const host = uri === undefined ? undefined : URL.parse(uri)?.host
    if (uri === undefined || host === undefined) return []
    return isVouchedFor || host === own ? [{ words: WORDS[name], uri, host }] : []
  })
  return [...Map.groupBy(pages, ({ host }) => host)].map(([host, on]) => ({ host, links: on }))
}
