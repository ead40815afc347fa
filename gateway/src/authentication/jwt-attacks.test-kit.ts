import { base64url, EncryptJWT, type JWTPayload, UnsecuredJWT } from 'jose'
import { AUDIENCE } from '../../test-subgraphs/issuer.ts'
import {
  claims,
  encode,
  forged,
  good,
  hs256,
  issuerUrl,
  now,
  ORDER,
  of,
  publicJwk,
  publicKey,
  signed,
  signedDer,
  signedRsa,
  trap,
  unsigned,
  withMore,
  withSignature,
} from './jwt-forge.test-kit.ts'

export type Attack = [string, RegExp, () => string | Promise<string>]

const NOT_ALLOWED = /an algorithm that is not allowed/
const FORGED = /bad signature|signed by no key of the issuer/

/** What must be refused, the reason in the log, and how it is made. */
export const attacks: Attack[] = [
  // What is no token.
  ['nothing at all', /not a bearer token/, () => ''],
  ['no token', /malformed/, () => 'x'],
  ['three empty parts', /malformed/, () => '..'],
  ['two tokens', /not a bearer token/, async () => `${await good()} ${await good()}`],
  [
    'a token without its signature',
    /malformed/,
    async () => (await good()).split('.').slice(0, 2).join('.'),
  ],
  [
    'an empty signature',
    /malformed/,
    async () => `${(await good()).split('.').slice(0, 2).join('.')}.`,
  ],
  ['a truncated token', FORGED, async () => (await good()).slice(0, -10)],
  ['a token with a segment more', /malformed/, async () => `${await good()}.e30`],
  ['a token that begins with a dot', /malformed/, async () => `.${await good()}`],
  ['base64 that is not of URLs', /malformed/, async () => (await good()).replace(/^..../, 'ey+/')],
  ['padded base64', /malformed/, async () => `${await good()}==`],
  ['letters of another script', /malformed/, async () => (await good()).replace(/^e/, 'е')],
  ['a header that is no JSON', /malformed/, () => signed(claims(), 'alg: ES256')],
  ['a header that is an array', /malformed/, () => signed(claims(), '["ES256"]')],
  ['claims that are no object', /malformed/, () => signed('["user"]')],
  ['claims that are no JSON', /malformed/, () => signed('user')],
  ['a huge header', FORGED, () => forged(() => ({ kid: 'key-1', x: 'x'.repeat(8_000) }))],
  [
    'a huge body',
    /the claim "aud"|the claim aud/,
    () => signed(claims({ aud: 'x', x: 'x'.repeat(8_000) })),
  ],
  [
    'a token too long for one',
    /not a bearer token|malformed/,
    () => signed(claims({ x: 'x'.repeat(9_000) }), { y: 'y'.repeat(50) }).slice(0, 11_000),
  ],
  [
    'an algorithm twice',
    /malformed/,
    () => signed(claims(), '{"alg":"none","kid":"key-1","alg":"ES256"}'),
  ],
  [
    'a subject twice',
    /malformed/,
    () => signed(JSON.stringify(claims()).replace('{', '{"sub":"operator",')),
  ],
  [
    'a subject twice, once escaped',
    /malformed/,
    () => signed(JSON.stringify(claims()).replace('{', '{"s\\u0075b":"operator",')),
  ],
  ['a token in a token', /malformed/, async () => signed(await good(), { cty: 'JWT' })],
  [
    'an encrypted token',
    /malformed/,
    () =>
      new EncryptJWT(claims() as JWTPayload)
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: 'key-1' })
        .encrypt(new Uint8Array(32)),
  ],
  ['another scheme', /not a bearer token/, () => 'Basic dXNlcjpwYXNz'],

  // None.
  ['alg none', /malformed/, () => new UnsecuredJWT(claims() as JWTPayload).encode()],
  ...['none', 'None', 'NONE', 'nOnE'].flatMap((alg): Attack[] => [
    [`alg ${alg} without a signature`, /malformed/, () => unsigned(alg)],
    [`alg ${alg} with one`, NOT_ALLOWED, () => `${unsigned(alg)}AAAA`],
  ]),
  ['no algorithm', NOT_ALLOWED, () => signed(claims(), '{"kid":"key-1"}')],
  ['an algorithm that is no text', NOT_ALLOWED, () => signed(claims(), { alg: ['ES256'] })],
  ['an algorithm in another case', NOT_ALLOWED, () => signed(claims(), { alg: 'es256' })],

  // The public key as a secret.
  [
    'HS256 with the public key as PEM',
    NOT_ALLOWED,
    () => hs256(String(publicKey().export({ type: 'spki', format: 'pem' }))),
  ],
  [
    'HS256 with it as PEM, trimmed',
    NOT_ALLOWED,
    () => hs256(String(publicKey().export({ type: 'spki', format: 'pem' })).trim()),
  ],
  [
    'HS256 with it as DER',
    NOT_ALLOWED,
    () => hs256(publicKey().export({ type: 'spki', format: 'der' })),
  ],
  ['HS256 with it as a JWK', NOT_ALLOWED, () => hs256(JSON.stringify(publicJwk()))],
  ['HS256 with its coordinate', NOT_ALLOWED, () => hs256(base64url.decode(publicJwk().x ?? ''))],
  ['HS256 with an empty-looking secret', NOT_ALLOWED, () => hs256(new Uint8Array(32))],

  // Keys of the bearer's own.
  ['another key under our key id', FORGED, () => forged(() => ({}))],
  ['a key in the header', FORGED, () => forged((jwk) => ({ jwk }))],
  ['a key in the header, under its own id', FORGED, () => forged((jwk) => ({ jwk, kid: 'evil' }))],
  ['a key set elsewhere', FORGED, () => forged(() => ({ jku: `${trap()}/jwks`, kid: 'evil' }))],
  [
    'a key set elsewhere, under our key id',
    FORGED,
    () => forged(() => ({ jku: `${trap()}/jwks` })),
  ],
  ['a certificate elsewhere', FORGED, () => forged(() => ({ x5u: `${trap()}/cert` }))],
  ['a certificate in the header', FORGED, () => forged(() => ({ x5c: ['MIIB'], x5t: 'AAAA' }))],

  // Key ids.
  ...[
    '../../../../dev/null',
    "' OR 1=1 --",
    'http://127.0.0.1:1/key',
    'key-2',
    '__proto__',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: for who takes it for one.
    '${jndi:ldap://127.0.0.1/a}',
  ].map((kid): Attack => [`the key id ${kid}`, FORGED, () => signed(claims(), { kid })]),
  ...[
    'x'.repeat(256),
    '',
    'key-1\u0000',
    'key-1\n{"level":"info"}',
    'schlüssel',
    1,
    null,
    ['key-1'],
    { $ne: 1 },
  ].map(
    (kid): Attack => [
      `the key id ${JSON.stringify(kid).slice(0, 40)}`,
      /bad key id/,
      () => signed(claims(), { kid }),
    ],
  ),

  // What a header may demand.
  ['a critical header', /a critical header/, () => signed(claims(), { crit: ['exp'], exp: 1 })],
  [
    'a critical header that is nobody’s',
    /a critical header/,
    () => signed(claims(), { crit: ['x'], x: 1 }),
  ],
  ['an empty list of critical headers', /a critical header/, () => signed(claims(), { crit: [] })],
  [
    'an unencoded payload',
    /a critical header/,
    () => signed(claims(), { b64: false, crit: ['b64'] }),
  ],

  // Algorithms and keys.
  ['ES384', NOT_ALLOWED, () => of('p384-1', 'ES384')],
  ['RS384', NOT_ALLOWED, () => signed(claims(), { alg: 'RS384', kid: 'rsa-1' })],
  ['RS1', NOT_ALLOWED, () => signed(claims(), { alg: 'RS1', kid: 'rsa-1' })],
  ['RSA-OAEP', NOT_ALLOWED, () => signed(claims(), { alg: 'RSA-OAEP', kid: 'rsa-1' })],
  ['a key of another curve', FORGED, () => signed(claims(), { kid: 'p384-1' })],
  ['a key of another kind', FORGED, () => signed(claims(), { kid: 'rsa-1' })],
  ['an algorithm of another kind of key', FORGED, () => signed(claims(), { alg: 'RS256' })],
  ['an RSA key of 1,024 bits', FORGED, () => signedRsa()],
  ['a signature of zeros', FORGED, () => withSignature(Buffer.alloc(64))],
  [
    'a signature of zeros in DER',
    FORGED,
    () => withSignature(Buffer.from('3006020100020100', 'hex')),
  ],
  [
    'a signature of the curve’s order',
    FORGED,
    () => withSignature(Buffer.from(ORDER + ORDER, 'hex')),
  ],
  ['a signature in DER', FORGED, () => signedDer()],
  ['a signature with bytes more', FORGED, () => withMore()],
  [
    'claims changed after signing',
    FORGED,
    async () => {
      const [head, , signature] = (await good()).split('.')
      return [head, encode(claims({ sub: 'operator' })), signature].join('.')
    },
  ],

  // Claims.
  ['an expired token', /expired/, () => signed(claims({ exp: now() - 6 }))],
  ['one that expired in 1970', /expired/, () => signed(claims({ exp: 0 }))],
  ['one that never expires', /exp/, () => signed(claims({ exp: undefined }))],
  ['one that expires when a text says', /exp/, () => signed(claims({ exp: '9999999999' }))],
  ['one that is not valid yet', /nbf/, () => signed(claims({ nbf: now() + 60 }))],
  ['one that is valid from a text on', /nbf/, () => signed(claims({ nbf: 'now' }))],
  [
    'one that is issued in the future',
    /issued in the future/,
    () => signed(claims({ iat: now() + 60 })),
  ],
  ['one that is issued at a text', /iat|malformed/, () => signed(claims({ iat: 'now' }))],
  ['one for another audience', /aud/, () => signed(claims({ aud: 'other' }))],
  ['one for several others', /aud/, () => signed(claims({ aud: ['other', `${AUDIENCE}2`, ''] }))],
  ['one for a part of us', /aud/, () => signed(claims({ aud: AUDIENCE.slice(1) }))],
  ['one for an object', /aud/, () => signed(claims({ aud: { [AUDIENCE]: true } }))],
  ['one for nobody', /aud/, () => signed(claims({ aud: undefined }))],
  ['one of another issuer', /iss/, () => signed(claims({ iss: 'https://evil.test' }))],
  ['one of our issuer with a slash', /iss/, () => signed(claims({ iss: `${issuerUrl()}/` }))],
  ['one of several issuers', /iss/, () => signed(claims({ iss: [issuerUrl()] }))],
  ['one of no issuer', /iss/, () => signed(claims({ iss: undefined }))],
  ['one without a subject', /sub/, () => signed(claims({ sub: undefined }))],
  ...['', 5, null, {}, ['user'], 'user\u0000', 'user\u202e', 'x'.repeat(256)].map(
    (sub): Attack => [
      `the subject ${JSON.stringify(sub).slice(0, 30)}`,
      /subject|sub/,
      () => signed(claims({ sub })),
    ],
  ),
  ['a subject that nobody knows', /Nobody/, () => signed(claims({ sub: 'stranger' }))],
]
