import { SignJWT, UnsecuredJWT } from 'jose'
import { expect, test } from 'vitest'
import { actorToClaims, createActor, narrow, requireOrganization } from './actor.ts'
import { createAssertionSigner, createAssertionVerifier } from './assertion.ts'
import { fakeClock } from './clock.ts'
import { newId } from './ids.ts'
import { createMetrics } from './metrics.ts'
import { createServiceJwtSigner } from './service-jwt.ts'
import { newServiceKey, type PrivateJwk } from './trusted-keys.ts'

const gateway = newServiceKey('gateway')
const inventory = newServiceKey('inventory')
const stranger = newServiceKey('gateway')
const jwks = { keys: [gateway.publicJwk, inventory.publicJwk] }
const person = createActor({ kind: 'person', subject: newId('usr'), organizationId: newId('org') })

function parties() {
  const clock = fakeClock()
  const metrics = createMetrics({ service: 'billing' })
  const signer = createAssertionSigner({ issuer: 'gateway', privateJwk: gateway.privateJwk, clock })
  const verifier = createAssertionVerifier({ audience: 'billing', jwks, clock, metrics })
  return { clock, metrics, signer, verifier }
}

/** A token with any claims, as an attacker who holds that key would make it. */
function forge(
  clock: { now(): Date },
  {
    key = gateway.privateJwk,
    typ = 'actor+jwt',
    iss = 'gateway',
    aud = 'billing',
    lifetimeSeconds = 60,
    claims = actorToClaims(person) as Record<string, unknown>,
  }: {
    key?: PrivateJwk
    typ?: string
    iss?: string
    aud?: string
    lifetimeSeconds?: number
    claims?: Record<string, unknown>
  } = {},
) {
  const sign = createServiceJwtSigner({ issuer: iss, privateJwk: key, clock })
  return sign(typ, aud, claims, lifetimeSeconds)
}

test('an actor arrives as it was sent', async () => {
  const { signer, verifier } = parties()
  const shared = narrow(person, 'ORGANIZATION')
  const arrived = await verifier.verify(await signer.sign(shared, 'billing'))
  expect(actorToClaims(arrived)).toEqual(actorToClaims(shared))
  expect(requireOrganization(arrived)).toBe(person.organizationId)
  expect(() => arrived.subject).toThrow()
  expect((await verifier.verify(await signer.sign(person, 'billing'))).subject).toBe(person.subject)
})

test('a token is reused until half its life is over, per actor and audience', async () => {
  const { clock, signer, verifier } = parties()
  const first = await signer.sign(person, 'billing')
  clock.advance(29)
  expect(await signer.sign(person, 'billing')).toBe(first)
  expect(await signer.sign(narrow(person, 'ORGANIZATION'), 'billing')).not.toBe(first)
  expect(await signer.sign(person, 'policy')).not.toBe(first)
  clock.advance(2)
  const second = await signer.sign(person, 'billing')
  expect(second).not.toBe(first)
  clock.advance(28)
  await expect(verifier.verify(second)).resolves.toBeDefined()
})

test('a verified token is not taken from the cache after it has expired', async () => {
  const { clock, signer, verifier } = parties()
  const token = await signer.sign(person, 'billing')
  await verifier.verify(token)
  clock.advance(66)
  await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
})

type Attack = (clock: { now(): Date }) => Promise<string | undefined> | string | undefined

const claims: Record<string, unknown> = actorToClaims(person)
const now = (clock: { now(): Date }) => Math.floor(clock.now().getTime() / 1000)

test.each<[string, string, Attack]>([
  ['no token', 'missing', () => undefined],
  ['an empty token', 'missing', () => ''],
  ['noise', 'malformed', () => 'a.b.c'],
  ['another audience', 'audience', (clock) => forge(clock, { aud: 'policy' })],
  [
    'a stranger’s key under a known id',
    'signature',
    (clock) => forge(clock, { key: stranger.privateJwk }),
  ],
  [
    'an unknown key id',
    'key',
    (clock) => forge(clock, { key: newServiceKey('gateway', 9).privateJwk }),
  ],
  [
    'a service that signs as the gateway',
    'issuer',
    (clock) => forge(clock, { key: inventory.privateJwk, iss: 'gateway' }),
  ],
  [
    'a service that is no issuer of actors',
    'issuer',
    (clock) => forge(clock, { key: inventory.privateJwk, iss: 'inventory' }),
  ],
  ['a command’s token', 'malformed', (clock) => forge(clock, { typ: 'command+jwt' })],
  ['a life of an hour', 'lifetime', (clock) => forge(clock, { lifetimeSeconds: 3600 })],
  [
    'an expired token',
    'expired',
    (clock) => forge({ now: () => new Date(clock.now().getTime() - 70_000) }),
  ],
  [
    'a token from the future',
    'lifetime',
    (clock) => forge({ now: () => new Date(clock.now().getTime() + 30_000) }),
  ],
  [
    'a shared actor with a subject',
    'claims',
    (clock) => forge(clock, { claims: { ...actorToClaims(person), authority: 'PUBLIC' } }),
  ],
  ['claims of nobody', 'claims', (clock) => forge(clock, { claims: {} })],
  [
    'no signature',
    'malformed',
    (clock) =>
      new UnsecuredJWT(claims)
        .setIssuer('gateway')
        .setAudience('billing')
        .setIssuedAt(now(clock))
        .setExpirationTime(now(clock) + 60)
        .encode(),
  ],
  [
    'the public key as a shared secret',
    'malformed',
    (clock) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256', typ: 'actor+jwt', kid: 'gateway-1' })
        .setIssuer('gateway')
        .setAudience('billing')
        .setIssuedAt(now(clock))
        .setExpirationTime(now(clock) + 60)
        .sign(Buffer.from(gateway.publicJwk.x ?? '', 'base64url')),
  ],
  [
    'claims changed after signing',
    'signature',
    async (clock) => {
      const [header, , signature] = (await forge(clock)).split('.')
      const raised = { ...claims, roles: ['platform:operator'], iss: 'gateway', aud: 'billing' }
      const body = { ...raised, iat: now(clock), exp: now(clock) + 60 }
      return [header, Buffer.from(JSON.stringify(body)).toString('base64url'), signature].join('.')
    },
  ],
])('%s is refused, and its bearer is told nothing more', async (_case, reason, attack) => {
  const { clock, metrics, verifier } = parties()
  const token = await attack(clock)
  await expect(verifier.verify(token)).rejects.toMatchObject({
    code: 'UNAUTHENTICATED',
    message: 'The actor assertion is missing or not valid',
  })
  expect(await metrics.registry.metrics()).toContain(
    `berth_assertion_refusals_total{reason="${reason}",service="billing"} 1`,
  )
})
