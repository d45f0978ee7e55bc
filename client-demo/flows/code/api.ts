import { decodeJwt, encodePart, explainMembers } from '../../claims.ts'
import { callApi, checkRefusal, INVALID_TOKEN, type Note } from '../../call-api.ts'
import type { Step } from '../../flow.ts'
import type { CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

export const readToken: CodeStep = {
  title: 'What the access token says',
  why:
    'It is signed, not encrypted: whoever holds it can read it, so it holds nothing secret. ' +
    'The API needs no one else to check it, only the server’s public keys.',
  async run({ world, tokens }, { check, fact }) {
    const { header, claims } = decodeJwt(tokens.alice.get().access)
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('typ', 'at+jwt', header['typ'])
    check('alg', 'ES256', header['alg'])
    check('iss', world.issuer, claims['iss'])
    check('sub is that of the ID token', tokens.alice.get().claims.sub, claims['sub'])
    check('roles', ['editor'], claims['roles'])
    check('lives for', 600, Number(claims['exp']) - Number(claims['iat']))
  },
}

export const writeNote: CodeStep = {
  title: 'The client writes a note for Alice, and lists hers',
  why: 'The API checks signature, issuer, audience, expiry and scope, and serves what is hers.',
  async run(stage, { check }) {
    const { access: token, claims } = stage.tokens.alice.get()
    const text = 'Oil the hinges of the north gate'
    const made = await callApi(stage.world, { method: 'POST', token, body: { text } })
    check('writing: status', 201, made.status)
    check('its text', text, made.body.text)
    check('its owner is Alice', claims.sub, made.body.owner)
    const { status, body } = await callApi(stage.world, { token })
    check('listing: status', 200, status)
    check('the newest of her notes', made.body.id, body.notes?.[0]?.id)
    stage.note.set(made.body as Note)
  },
}

export const sendNoToken: CodeStep = {
  title: 'Without a token, the API says what it wants',
  why: 'Nothing was wrong with the token: there was none. So the challenge names no error.',
  async run(stage, { check }) {
    const answer = await callApi(stage.world, {})
    check('status', 401, answer.status)
    check('the scheme', 'Bearer', answer.challenge.split(/[ ,]/)[0])
    check('error in WWW-Authenticate', false, answer.challenge.includes('error='))
  },
}

export const tamper: CodeStep = {
  title: 'Alice’s token with “admin” written into it is refused',
  why:
    'The signature is that of the old text. Nor does it help to take it off and say “alg: none”. ' +
    'The answer does not say which check failed: that would help only the forger.',
  async run(stage, notes) {
    const [header = '', , signature = ''] = stage.tokens.alice.get().access.split('.')
    const { claims } = decodeJwt(stage.tokens.alice.get().access)
    const forged = encodePart({ ...claims, roles: ['admin'] })
    const token = `${header}.${forged}.${signature}`
    checkRefusal(notes, await callApi(stage.world, { token }), INVALID_TOKEN, 'forged: ')
    const unsigned = `${encodePart({ alg: 'none', typ: 'at+jwt' })}.${forged}.`
    checkRefusal(
      notes,
      await callApi(stage.world, { token: unsigned }),
      INVALID_TOKEN,
      'unsigned: ',
    )
  },
}
