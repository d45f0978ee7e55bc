import type { Step } from '../../flow.ts'
import { readAll } from '../../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE, readParameter } from '../../call-api.ts'
import { obtain } from './authorize.ts'
import { LEFT_OUT, noteConsent, WRITE } from './consent-page.ts'
import type { CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

export const signInBob: CodeStep = {
  title: 'Bob signs in to the same client, and gets less',
  why:
    'His role is “reader”. The client asked for notes:write as before; the consent page tells ' +
    'him that it was left out, and the token does not carry it.',
  async run(stage, notes) {
    const { check } = notes
    const { tokens, consent } = await obtain(stage, 'bob')
    noteConsent(consent, notes)
    check('the consent page names what was left out', [WRITE], readAll(consent, LEFT_OUT))
    check('granted scope', 'openid profile email notes:read', tokens.scope)
    stage.tokens.bob.set(tokens)
  },
}

export const writeAsBob: CodeStep = {
  title: 'Bob’s token cannot write',
  why: 'His token is good, and not for this: 403, with the scope that it would take.',
  async run(stage, notes) {
    const token = stage.tokens.bob.get().access
    const answer = await callApi(stage.world, {
      method: 'POST',
      token,
      body: { text: 'I was here' },
    })
    checkRefusal(notes, answer, INSUFFICIENT_SCOPE)
    notes.check('the scope it takes', 'notes:write', readParameter(answer.challenge, 'scope'))
  },
}

export const readAsBob: CodeStep = {
  title: 'Bob cannot read Alice’s note',
  why: 'Not even whether it exists: to him it is 404, like any note that nobody wrote.',
  async run(stage, { check }) {
    const token = stage.tokens.bob.get().access
    const path = `/notes/${stage.note.get().id}`
    stage.world.wire.announce('with Bob’s token')
    const hers = await callApi(stage.world, { token, path })
    check('her note: status', 404, hers.status)
    check('her note: error', 'not_found', hers.body.error)
    const list = await callApi(stage.world, { token })
    check('his notes', [], list.body.notes)
    stage.world.wire.announce('with Alice’s token')
    const owner = await callApi(stage.world, { token: stage.tokens.alice.get().access, path })
    check('and for Alice: status', 200, owner.status)
  },
}

export const readAsAdmin: CodeStep = {
  title: 'An admin sees everyone’s notes',
  why: 'The token’s claim “roles” says admin, and this API lets admins see everything.',
  async run(stage, { check }) {
    const { tokens } = await obtain(stage, 'admin')
    const { status, body } = await callApi(stage.world, { token: tokens.access })
    check('status', 200, status)
    check('the newest note', stage.note.get().id, body.notes?.[0]?.id)
    check('its owner', stage.note.get().owner, body.notes?.[0]?.owner)
  },
}
