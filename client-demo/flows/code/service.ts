import { setTimeout as wait } from 'node:timers/promises'
import { clientCredentialsGrant } from 'openid-client'
import { BILLING, BRIEF, BRIEF_SECONDS, ROBOT_CLIENT } from '../../configuration.ts'
import { callApi, checkRefusal, INVALID_TOKEN } from '../../call-api.ts'
import { decodeJwt } from '../../claims.ts'
import type { Step } from '../../flow.ts'
import { createRobot, type CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

async function obtainToken(
  stage: CodeStage,
  parameters: Readonly<Record<string, string>>,
): Promise<string> {
  const { access_token } = await clientCredentialsGrant(createRobot(stage), { ...parameters })
  return access_token
}

export const readAsService: CodeStep = {
  title: 'A service comes by itself, and sees none of the people’s notes',
  why:
    'Client credentials: the token is about the service, which owns no notes. To read everyone’s ' +
    'it would need a scope of its own, notes:read:all, which it was not given.',
  async run(stage, { check }) {
    const token = await obtainToken(stage, { scope: 'notes:read' })
    check('sub', ROBOT_CLIENT, decodeJwt(token).claims['sub'])
    const { status, body } = await callApi(stage.world, { token })
    check('status', 200, status)
    check('its notes', [], body.notes)
  },
}

export const useOtherAudience: CodeStep = {
  title: 'A token for another API is refused',
  why:
    'Same server, same keys, a valid signature; but its audience is billing. Otherwise any API ' +
    'that you call could use your token at the next one.',
  async run(stage, notes) {
    const token = await obtainToken(stage, { scope: 'billing:read', resource: BILLING })
    notes.check('aud', BILLING, decodeJwt(token).claims['aud'])
    checkRefusal(notes, await callApi(stage.world, { token }), INVALID_TOKEN)
  },
}

export const outliveToken: CodeStep = {
  title: `A token that lives for ${BRIEF_SECONDS} seconds is refused after them`,
  why: 'The same token twice. Expiry holds to the second here; by default an API tolerates a little.',
  async run(stage, notes) {
    const token = await obtainToken(stage, { scope: 'notes:read', resource: BRIEF })
    const { iat, exp } = decodeJwt(token).claims
    notes.check('lives for', BRIEF_SECONDS, Number(exp) - Number(iat))
    stage.world.wire.announce('while it lives')
    const fresh = await callApi(stage.world, { token })
    notes.check('status while it lives', 200, fresh.status)
    await wait(BRIEF_SECONDS * 1000, undefined, { signal: stage.stopped })
    stage.world.wire.announce(`after ${BRIEF_SECONDS} seconds`)
    checkRefusal(notes, await callApi(stage.world, { token }), INVALID_TOKEN)
  },
}
