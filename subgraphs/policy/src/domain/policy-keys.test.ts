import { expect, test } from 'vitest'
import { parsePolicy, policyKeys } from './policy-keys.ts'

test('every policy starts with a value that may be set', () => {
  for (const [key, { initial, scopes }] of policyKeys) {
    for (const scope of scopes) expect(parsePolicy(key, scope, initial)).toEqual(initial)
  }
})

test.each([
  ['an unknown key', 'ratelimit.nothing', 'PLATFORM', { perMinute: 1, burst: 1 }],
  ['a key of Object’s', 'constructor', 'PLATFORM', {}],
  ['a rate without a burst', 'ratelimit.query', 'PLATFORM', { perMinute: 1 }],
  ['a rate of nothing', 'ratelimit.query', 'PLATFORM', { perMinute: 0, burst: 1 }],
  ['an unknown field', 'ratelimit.query', 'PLATFORM', { perMinute: 1, burst: 1, extra: 1 }],
  ['an action without a thing', 'authz.roles', 'PLATFORM', { owner: ['*'] }],
  ['roles of one organization', 'authz.roles', 'ORGANIZATION', { owner: ['node:manage'] }],
] as const)('%s is refused', (_what, key, scope, value) => {
  expect(() => parsePolicy(key, scope, value)).toThrow(
    expect.objectContaining({ code: 'BAD_INPUT' }),
  )
})

test('no role of an organization reaches nodes, and an operator is nobody’s tenant', () => {
  const roles = policyKeys.get('authz.roles')?.initial as Record<string, string[]>
  for (const [role, actions] of Object.entries(roles)) {
    const isOperator = role === 'platform:operator'
    expect(actions.some((it) => it.startsWith('node:'))).toBe(isOperator)
    expect(actions.some((it) => it.startsWith('allocation:'))).toBe(!isOperator)
  }
})
