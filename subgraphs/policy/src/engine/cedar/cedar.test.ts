import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { expect, test } from 'vitest'
import { testPolicyEngine } from '../conformance.ts'
import { decide, grantsOf } from '../decide.ts'
import { createCedarEngine } from './cedar.ts'

const log = createLog({ service: 'policy', instance: 'policy-1', level: 'silent' })
// Fewer than the suite has sets of rules.
const engine = createCedarEngine({ log, slots: 3 })

const when = (condition: string, action = 'allocation:create') =>
  `forbid(principal, action == Action::"${action}", resource) when { ${condition} };`

testPolicyEngine('cedar', () => engine, {
  permitEverything: 'permit(principal, action, resource);',
  forbidEverything: 'forbid(principal, action, resource);',
  freeze: 'forbid(principal, action == Action::"allocation:create", resource);',
  capGpus: `forbid(principal, action == Action::"allocation:create", resource)
    when { context.gpuCount > 1 };`,
  permitFewGpus: `permit(principal in Role::"member", action == Action::"allocation:create", resource)
    unless { context.gpuCount > 2 };`,
  viewersMayOpenTerminals:
    'permit(principal in Role::"viewer", action == Action::"terminal:open", resource);',
  viewersMayNotOpenTerminals:
    'forbid(principal in Role::"viewer", action == Action::"terminal:open", resource);',
  noBillingForKeys: 'forbid(principal is ApiKey, action in Action::"billing:*", resource);',
  forbidOrganization: (id) => `forbid(principal in Organization::"${id}", action, resource);`,
  failing: `permit(principal in Role::"viewer", action == Action::"billing:read", resource)
    when { 9223372036854775807 + 1 > 0 };`,
  unreadable: 'permit everything;',
  unknownInLine2: 'forbid(principal,\n  action == Action::"allocation:nope", resource);',
})

test.each(
  Object.entries({
    'a person': [
      'permit(principal == User::"usr_1", action, resource);',
      /line 1: .*no single person/,
    ],
    'a key, in a condition': [
      '// first\npermit(principal, action, resource) when { principal == ApiKey::"key_1" };',
      /line 2: .*API key/,
    ],
    'a single thing': [
      'permit(principal, action, resource == Allocation::"alc_1");',
      /line 1, column 39: .*"any"/,
    ],
    'an unknown role': ['permit(principal in Role::"viewr", action, resource);', /"viewer"/],
    'a template': ['permit(principal == ?principal, action, resource);', /Templates/],
    'a fact of another action': [when('context.gpuCount > 1', 'allocation:read'), /gpuCount/],
    'a fact of another type': [when('context.gpuCount > "1"'), /Long/],
    'what never applies': [when('context.gpuCount > 16 && false'), /impossible/],
    'an action on another thing': [
      'permit(principal, action == Action::"node:read", resource is Allocation);',
      /unable to find/,
    ],
    'too many policies': ['permit(principal, action, resource);'.repeat(51), /at most 50/],
    'too long a text': ['permit(principal, action, resource);'.repeat(2_000), /at most 16000/],
    'no text at all': ['\u0000', /line 1/],
  } satisfies Record<string, [string, RegExp]>),
)('refuses %s', async (_what, [rules, message]) => {
  expect((await engine.validate(rules, 'ORGANIZATION')).join('\n')).toMatch(message)
})

const deep: Record<string, (n: number) => string> = {
  parentheses: (n) => when(`${'('.repeat(n)}true${')'.repeat(n)}`),
  'not, not, not': (n) => when(`${'!('.repeat(n)}true${')'.repeat(n)}`),
  sums: (n) => when(`${Array(n).fill('1').join('+')} > 0`),
  conditionals: (n) => when(`${'if true then '.repeat(n)}true${' else true'.repeat(n)}`),
  sets: (n) => when(`${'['.repeat(n)}1${']'.repeat(n)}.isEmpty()`),
  members: (n) => when(`principal${'.a'.repeat(n)} == 1`),
  alternatives: (n) => when(Array(n).fill('context.gpuCount == 3').join(' || ')),
  conditions: (n) => `forbid(principal, action, resource) ${'when { true } '.repeat(n)};`,
}

test.each(Object.keys(deep))('%s that nest deeply take nothing down', async (kind) => {
  const owner = { kind: 'person', organizationId: newId('org'), roles: ['owner'] } as const
  const roles = { owner: ['allocation:*'] }
  const question = { authority: owner, action: 'allocation:read', facts: {} } as const
  for (const n of [10, 100, 1_000]) {
    const rules = deep[kind]!(n).slice(0, 15_000)
    const problems = await engine.validate(rules, 'ORGANIZATION')
    expect(Array.isArray(problems)).toBe(true)
    // As if they had been set all the same, in a database that nobody validated.
    const poisoned = { roles, platform: '', organization: rules }
    const { isGranted } = await decide(engine, poisoned, question)
    if (problems.length === 0) expect(isGranted || kind === 'conditions').toBe(true)
    const rest = { roles, platform: '', organization: '' }
    expect(await decide(engine, rest, question)).toMatchObject({ isGranted: true })
  }
})

test('rules that ask only whether there is a fact depend on it too', async () => {
  const owner = { kind: 'person', organizationId: newId('org'), roles: ['owner'] } as const
  const roles = { owner: ['allocation:*'] }
  const action = 'allocation:create'
  for (const condition of [
    'context has gpuCount',
    'context == context',
    '!(context has gpuModel)',
  ]) {
    const rules = { roles, platform: '', organization: when(condition) }
    const { isGranted } = await decide(engine, rules, {
      authority: owner,
      action,
      facts: { gpuModel: 'x', gpuCount: 1, region: 'any' },
    })
    const { granted, dependent } = await grantsOf(engine, rules, owner)
    expect(granted.includes(action) && !isGranted, condition).toBe(false)
    expect(dependent, condition).toContain(action)
  }
})

test('a permit that fails with some facts is asked about each time, also where a role permits', async () => {
  const owner = { kind: 'person', organizationId: newId('org'), roles: ['owner'] } as const
  const roles = { owner: ['allocation:*'] }
  const action = 'allocation:create'
  const failing = `permit(principal, action == Action::"${action}", resource)
    when { context.gpuCount + 9223372036854775800 > 0 };`
  for (const level of ['platform', 'organization'] as const) {
    const rules = { roles, platform: '', organization: '', [level]: failing }
    expect(await engine.validate(failing, 'ORGANIZATION')).toEqual([])
    const mayHave = async (gpuCount: number) => {
      const facts = { gpuModel: 'x', gpuCount, region: 'any' }
      return (await decide(engine, rules, { authority: owner, action, facts })).isGranted
    }
    expect([await mayHave(1), await mayHave(16)]).toEqual([true, false])
    const { granted, dependent } = await grantsOf(engine, rules, owner)
    expect([granted.includes(action), dependent.includes(action)]).toEqual([false, true])
  }
})

test('an instance that crashed is let go of: its memory is not lost', async () => {
  const crashing = when(`${'('.repeat(5_000)}true${')'.repeat(5_000)}`)
  const before = process.memoryUsage().external
  for (let i = 0; i < 60; i++) {
    expect(await engine.validate(crashing, 'ORGANIZATION')).toEqual([expect.stringMatching(/flat/)])
  }
  // Each has 13 MB and more.
  expect(process.memoryUsage().external - before).toBeLessThan(500e6)
})

test('the most that is allowed is decided about', async () => {
  const wildcards = `*${'a*'.repeat(20)}`
  const list = Array.from({ length: 50 }, (_, i) =>
    when(`context.gpuCount > ${i} && context.region like "${wildcards}"`),
  )
  const rules = list.join('\n')
  expect(await engine.validate(rules, 'ORGANIZATION')).toEqual([])
  const set = { level: 'ORGANIZATION', roles: {}, rules } as const
  const authority = { kind: 'person', organizationId: newId('org'), roles: ['owner'] } as const
  const facts = { gpuModel: 'x', gpuCount: 16, region: 'a'.repeat(1_000) }
  const question = { authority, action: 'allocation:create', facts } as const
  expect(await engine.evaluate(set, question)).toBe('forbid')
})
