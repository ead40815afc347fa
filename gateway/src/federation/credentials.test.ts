import { type Actor, anonymous, createActor } from '@berth/platform/actor'
import { createAssertionSigner, createAssertionVerifier } from '@berth/platform/assertion'
import { fakeClock } from '@berth/platform/clock'
import { createMetrics } from '@berth/platform/metrics'
import { testKeys } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { afterAll, expect, test } from 'vitest'
import { createActorCredentials } from './credentials.ts'

const keys = testKeys(['gateway', 'billing'])
afterAll(() => keys[Symbol.dispose]())
const { privateJwk, jwks } = loadKeys(keys.dir, 'gateway')

const ORG = 'org_01h455vb4pex5vsknk084sn02q'
const USER = 'usr_01h455vb4pex5vsknk084sn02q'
const OTHER = 'usr_01h455vb4pex5vsknk084sn02r'

function person(subject: `usr_${string}`, roles: readonly string[] = ['owner', 'admin']): Actor {
  return createActor({ kind: 'person', subject, organizationId: ORG, roles, credential: subject })
}

function open() {
  const clock = fakeClock()
  let signed = 0
  const signer = createAssertionSigner({ issuer: 'gateway', privateJwk, clock })
  const of = createActorCredentials(
    {
      sign(actor, audience) {
        signed++
        return signer.sign(actor, audience)
      },
    },
    clock,
  )
  const verifier = createAssertionVerifier({
    audience: 'billing',
    jwks,
    clock,
    metrics: createMetrics({ service: 'billing' }),
  })
  return { of, clock, verifier, signed: () => signed }
}

test('a subgraph is told who asks, and believes it', async () => {
  const { of, verifier } = open()
  const headers = await of(person(USER)).headers('billing')
  expect(Object.keys(headers)).toEqual(['berth-actor'])
  expect(await verifier.verify(headers['berth-actor'])).toMatchObject({
    subject: USER,
    organizationId: ORG,
    roles: ['admin', 'owner'],
  })
})

test('nothing is computed twice: not the credentials, the narrowed ones, nor the headers', async () => {
  const { of, signed } = open()
  const actor = person(USER)
  const credentials = of(actor)
  expect(of(actor)).toBe(credentials)
  expect(credentials.narrow('ORGANIZATION')).toBe(credentials.narrow('ORGANIZATION'))
  expect(credentials.narrow('PERSON')).toBe(credentials)
  expect(credentials.narrow('PUBLIC')).toBe(of(anonymous))
  const headers = await credentials.headers('billing')
  // At once, without a promise.
  expect(credentials.headers('billing')).toBe(headers)
  expect(signed()).toBe(1)
})

test('headers are made anew long before their assertion expires', async () => {
  const { of, clock, verifier } = open()
  const credentials = of(person(USER))
  const seen = new Set<string | undefined>()
  for (let second = 0; second < 300; second++) {
    const { 'berth-actor': token } = await credentials.headers('billing')
    seen.add(token)
    clock.advance(10)
    await verifier.verify(token)
    clock.advance(-9)
  }
  expect(seen.size).toBeGreaterThan(4)
  expect(seen.size).toBeLessThan(15)
})

test('the sharing key is equal for those who must be answered alike, and for no others', () => {
  const { of } = open()
  const key = (actor: Actor) => of(actor).sharingKey
  const shared = (actor: Actor) => of(actor).narrow('ORGANIZATION').sharingKey
  expect(key(person(USER))).toBe(key(person(USER, ['admin', 'owner'])))
  expect(key(person(USER))).not.toBe(key(person(OTHER)))
  expect(shared(person(USER))).toBe(shared(person(OTHER)))
  expect(shared(person(USER))).not.toBe(shared(person(USER, ['admin'])))
  expect(shared(person(USER))).not.toBe(key(person(USER)))
  expect(of(person(USER)).narrow('PUBLIC').sharingKey).toBe(key(anonymous))
})

test('a shared call names no person', async () => {
  const { of, verifier } = open()
  const headers = await of(person(USER)).narrow('ORGANIZATION').headers('billing')
  const actor = await verifier.verify(headers['berth-actor'])
  expect(() => actor.subject).toThrow(TypeError)
  expect(actor.credential).toBeUndefined()
})

test('a subscription carries the assertion in its message, and says until when', async () => {
  const { of, clock, verifier } = open()
  const it = await of(person(USER)).subscription('billing')
  expect(it).toMatchObject({ socketKey: '', socketHeaders: {} })
  await verifier.verify(it.extensions.berthActor as string)
  expect((it.expiresAt?.getTime() ?? 0) - clock.now().getTime()).toBeLessThanOrEqual(60_000)
})
