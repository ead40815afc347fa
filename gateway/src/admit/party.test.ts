import { anonymous, createActor } from '@berth/platform/actor'
import { expect, test } from 'vitest'
import { addressOf, partyOf } from './party.ts'
import { createPlanningBudget } from './planning-budget.ts'
import { createRates } from './rates.ts'

const organizationId = 'org_01h455vb4pex5vsknk084sn02q' as const
const person = createActor({ kind: 'person', subject: 'usr_01h455vb4pex5vsknk084sn01q' })
const keys = ['key_1', 'key_2'].map((credential) =>
  createActor({ kind: 'api-key', credential, organizationId }),
)

test.each([
  ['10.1.2.3', '10.1.2.3'],
  ['::ffff:10.1.2.3', '10.1.2.3'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1:2::9', '2001:db8:1:2'],
  ['2001:0db8:0001:0002:ffff::', '2001:db8:1:2'],
  ['2001:db8::1', '2001:db8:0:0'],
  ['::1', '0:0:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['unknown', 'unknown'],
])('the address %s is of %s', (ip, of) => {
  expect(addressOf(ip)).toBe(of)
})

test('a person is one wherever they are, so is an API key, and who is nobody is their network', () => {
  expect(partyOf(person, '10.0.0.1')).toBe(partyOf(person, '10.0.0.2'))
  expect(new Set([...keys, person, anonymous].map((it) => partyOf(it, '10.0.0.1'))).size).toBe(4)
  expect(partyOf(anonymous, '2001:db8:1:2::1')).toBe(partyOf(anonymous, '2001:db8:1:2:ffff::'))
})

test('the rates count it so: of a network of IPv6 one, of API keys behind one address each', async () => {
  const taken: string[] = []
  const rates = createRates({
    limiter: {
      takeAll: async (_of: string, subjects: readonly { subject: string }[]) => {
        taken.push(subjects[0]?.subject ?? '')
        return { allowed: true, retryAfterSeconds: 0 }
      },
    } as never,
    policy: { value: async () => undefined } as never,
    log: { debug: () => undefined } as never,
  })
  const takeAs = (actor: typeof person, clientIp: string) =>
    rates.take('query', { actor, clientIp })
  for (let i = 0; i < 5; i++) await takeAs(anonymous, `2001:db8:1:2::${i}`)
  expect(new Set(taken).size).toBe(1)
  for (const it of keys) await takeAs(it, '10.0.0.1')
  await takeAs(anonymous, '10.0.0.1')
  expect(new Set(taken).size).toBe(4)
})

test('and so does the account of what is new', () => {
  let used = 0
  const budget = createPlanningBudget({ now: () => 0, usedMs: () => used })
  const spend = (clientIp: string, actor = anonymous) =>
    budget.spend({ actor, clientIp }, () => {
      used += 5_000
    })
  spend('2001:db8:1:2::1')
  expect(() => spend('2001:db8:1:2::2')).toThrow('Too many new operations')
  spend('2001:db8:1:3::1')
  for (const it of keys) spend('10.0.0.1', it)
  expect(() => spend('10.0.0.2', keys[0])).toThrow('Too many new operations')
})
