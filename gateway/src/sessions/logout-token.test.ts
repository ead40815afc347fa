import { systemClock } from '@berth/platform/clock'
import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import { beforeAll, expect, test } from 'vitest'
import { CredentialRefused } from '../authentication/issuer.ts'
import { verifyLogoutToken } from './logout-token.ts'

const EVENTS = { 'http://schemas.openid.net/event/backchannel-logout': {} }
const [ISSUER, CLIENT] = ['https://issuer.example', 'berth-web']
let pair: Awaited<ReturnType<typeof generateKeyPair>>
let foreign: typeof pair
beforeAll(async () => {
  pair = await generateKeyPair('ES256')
  foreign = await generateKeyPair('ES256')
})

const now = () => Math.floor(Date.now() / 1_000)
const claims = () => ({
  iss: ISSUER,
  aud: CLIENT,
  sub: 'user',
  sid: 'sid-1',
  jti: 'jti-1',
  iat: now(),
  events: EVENTS as unknown,
})
const signed = (given: object, key = pair.privateKey, typ = 'logout+jwt') =>
  new SignJWT({ ...claims(), ...given }).setProtectedHeader({ alg: 'ES256', typ }).sign(key)
const verify = (token: string) =>
  verifyLogoutToken(token, {
    keys: async () => pair.publicKey,
    issuer: ISSUER,
    clientId: CLIENT,
    clock: systemClock,
  })

test('a logout token says whose sessions end', async () => {
  expect(await verify(await signed({}))).toMatchObject({ subject: 'user', issuerSession: 'sid-1' })
  expect(await verify(await signed({ sub: undefined }))).toMatchObject({ subject: null })
})

test.each<[string, object]>([
  ['of another issuer', { iss: 'https://evil.example' }],
  ['for another client', { aud: 'other' }],
  ['with a nonce, as ID tokens have', { nonce: 'n' }],
  ['without the event', { events: undefined }],
  ['with another event', { events: { 'https://evil.example': {} } }],
  ['with an event that is no object', { events: { [Object.keys(EVENTS)[0] ?? '']: true } }],
  ['that names nobody', { sub: undefined, sid: undefined }],
  ['whose subject is no text', { sub: 7 }],
  ['without a time', { iat: undefined }],
  ['that is old', { iat: now() - 3_600 }],
  ['from the future', { iat: now() + 3_600 }],
  ['that has expired', { exp: now() - 120 }],
  ['without an id', { jti: undefined }],
])('one %s is refused', async (_what, given) => {
  await expect(verify(await signed(given))).rejects.toBeInstanceOf(CredentialRefused)
})

test('neither another’s signature, nor none, nor another type will do', async () => {
  const unsigned = new UnsecuredJWT({ ...claims(), jti: 'x' }).encode()
  const tokens = [
    await signed({}, foreign.privateKey),
    await signed({}, pair.privateKey, 'at+jwt'),
    unsigned,
    '',
    'x.y.z',
    (await signed({})).slice(0, -2),
  ]
  for (const token of tokens) await expect(verify(token)).rejects.toBeInstanceOf(CredentialRefused)
})
