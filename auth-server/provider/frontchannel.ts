import type { KoaContextWithOIDC } from 'oidc-provider'
import type { ClientStore } from '../clients/client.ts'
import type { EnginePages } from './interaction.ts'
import type { ClientSession } from './model-store.ts'

/** A browser opens no more at once. */
const MOST_FRAMES = 30
/** Time for the frames. Whoever does not want to wait has a link. */
const WAIT_SECONDS = 3

export interface FrontchannelCollaborators {
  readonly clients: Pick<ClientStore, 'findById'>
  readonly pages: EnginePages
}

/**
 * Shows each client's page for that in a frame, and then goes where the redirect of this answer would
 * have gone. Without a script: nobody waits for a client longer than for the others.
 *
 * Whether a client has noticed is not known. Browsers keep the cookies of other sites out of frames more
 * and more, and then it cannot.
 *
 * @see {@link https://openid.net/specs/openid-connect-frontchannel-1_0.html#OPLogout Front-Channel Logout §3}
 */
export async function tellByFrames(
  { clients, pages }: FrontchannelCollaborators,
  ctx: KoaContextWithOIDC,
  ended: readonly ClientSession[],
): Promise<void> {
  const found = await Promise.all(
    ended.map(async ({ clientId, sid }) => {
      const client = await clients.findById(clientId)
      return client?.disabled === false && client.frontchannelLogoutUri !== undefined
        ? addSession(client.frontchannelLogoutUri, ctx.oidc.issuer, sid)
        : undefined
    }),
  )
  const frames = found.filter((frame) => frame !== undefined).slice(0, MOST_FRAMES)
  if (frames.length === 0) return
  const next = ctx.response.get('location')
  ctx.remove('location')
  ctx.status = 200
  ctx.type = 'html'
  allowFrames(ctx, frames)
  ctx.body = pages.tellingApps({ frames, next, seconds: WAIT_SECONDS })
}

function addSession(uri: string, issuer: string, sid: string): string {
  const url = new URL(uri)
  url.searchParams.set('iss', issuer)
  url.searchParams.set('sid', sid)
  return url.href
}

function allowFrames(ctx: KoaContextWithOIDC, frames: readonly string[]): void {
  const origins = new Set(frames.map((frame) => new URL(frame).origin))
  const policy = ctx.response.get('content-security-policy')
  ctx.set('Content-Security-Policy', `${policy}; frame-src ${[...origins].join(' ')}`)
}
