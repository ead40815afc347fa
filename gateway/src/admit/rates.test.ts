import { createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Limited } from '@berth/platform/limiter'
import type { PolicyScope } from '@berth/platform/policy-client'
import { expect, test } from 'vitest'
import { createRates } from './rates.ts'

const organizationId = 'org_01h455vb4pex5vsknk084sn02q' as const
const subject = 'usr_01h455vb4pex5vsknk084sn01q' as const
const member = createActor({ kind: 'person', subject, organizationId })
const key = createActor({ kind: 'api-key', credential: 'key_1', organizationId })
const stranger = createActor({ kind: 'person', subject })

const OF_ORGANIZATION = { perMinute: 600, burst: 100 }
const OF_MEMBER = { perMinute: 6, burst: 1 }

/** What is counted for whom, policy answering so. */
async function counted(actor: typeof member, value: (scope: PolicyScope) => unknown) {
  let subjects: readonly Limited[] = []
  const rates = createRates({
    limiter: {
      takeAll: async (_of: string, of: readonly Limited[]) => {
        subjects = of
        return { allowed: true, retryAfterSeconds: 0 }
      },
    } as never,
    policy: { value: (_key, scope) => value(scope ?? {}) },
    log: { debug: () => undefined, error: () => undefined } as never,
  })
  await rates.take('query', { actor, clientIp: '10.0.0.1' })
  return subjects.map(({ rate }) => rate)
}

const byScope = ({ userId }: PolicyScope) => (userId ? OF_MEMBER : OF_ORGANIZATION)

test('a member is counted against what holds for them, and all of the organization as before', async () => {
  expect(await counted(member, byScope)).toEqual([OF_MEMBER, { perMinute: 6_000, burst: 1_000 }])
})

test('who is no person, or in no organization, has no rate of their own', async () => {
  const asked: PolicyScope[] = []
  const note = (scope: PolicyScope) => {
    asked.push(scope)
    return byScope(scope)
  }
  expect((await counted(key, note))[0]).toEqual(OF_ORGANIZATION)
  expect(await counted(stranger, note)).toEqual([OF_ORGANIZATION])
  expect(asked.filter(({ userId }) => userId)).toEqual([])
})

test.each([
  ['cannot be read', () => Promise.reject(new DomainError('UNAVAILABLE', 'away'))],
  ['is malformed', () => ({ perMinute: 'many' })],
  ['is none', () => undefined],
])('where a member’s own %s, their organization’s holds', async (_what, own) => {
  const value = ({ userId }: PolicyScope) => (userId ? own() : OF_ORGANIZATION)
  expect((await counted(member, value))[0]).toEqual(OF_ORGANIZATION)
})
