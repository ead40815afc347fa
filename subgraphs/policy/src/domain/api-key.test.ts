import { expect, test } from 'vitest'
import { apiKeyState, checkCidrs, checkExpiry, checkScopes } from './api-key.ts'

const now = new Date('2026-01-01T00:00:00Z')
const after = (days: number) => new Date(now.getTime() + days * 86_400_000)

test('scopes are sorted and unique', () => {
  expect(checkScopes(['b:read', 'a:*', 'b:read'])).toEqual(['a:*', 'b:read'])
})

test.each([
  [['*']],
  [['allocation']],
  [['allocation:']],
  [['Allocation:read']],
  [['a:b:c']],
  [['a:r*']],
])('no scope is in %j', (scopes) => expect(() => checkScopes(scopes)).toThrow(/is no scope/))

test.each([[[]], [Array.from({ length: 51 }, (_, i) => `a:${'b'.repeat((i % 40) + 1)}`)]])(
  'none, or too many, scopes are refused',
  (scopes) => {
    const many = scopes.map((it, i) => (i < 40 ? it : it.replace('a:', 'c:')))
    expect(() => checkScopes(many)).toThrow(/1 to 50/)
  },
)

test('networks of both families pass, each once', () => {
  expect(checkCidrs(['10.0.0.0/8', '2001:DB8::/32', '10.0.0.0/8', '0.0.0.0/0', '::/0'])).toEqual([
    '10.0.0.0/8',
    '2001:db8::/32',
    '0.0.0.0/0',
    '::/0',
  ])
  expect(checkCidrs(null)).toBeNull()
})

test.each([
  '10.0.0.1',
  '10.0.0.0/33',
  '010.0.0.0/8',
  '::/129',
  '10.0.0/8',
  'example.com/8',
  '::ffff:10.0.0.0/104',
  '0:0:0:0:0:ffff:a00:0/104',
  'fe80::1%eth0/64',
  '',
])('%j is no network', (cidr) => {
  expect(() => checkCidrs([cidr])).toThrow(/is no network/)
})

test('a key ends within a year, in 90 days unless said', () => {
  expect(checkExpiry(null, now)).toEqual(after(90))
  expect(checkExpiry(undefined, now, after(5))).toEqual(after(5))
  expect(checkExpiry(after(366), now)).toEqual(after(366))
  for (const bad of [now, after(-1), after(367)]) {
    expect(() => checkExpiry(bad, now)).toThrow(/within a year/)
  }
})

test('what ended a key is said, the final before the rest', () => {
  const key = { revokedAt: null, expiresAt: after(1), makerRole: 'OWNER' } as const
  expect(apiKeyState(key, now)).toBe('ACTIVE')
  expect(apiKeyState(key, after(1))).toBe('EXPIRED')
  expect(apiKeyState({ ...key, makerRole: null }, now)).toBe('ORPHANED')
  expect(apiKeyState({ ...key, makerRole: null, revokedAt: now }, after(2))).toBe('REVOKED')
})
