import { anonymous } from '@berth/platform/actor'
import { expect, test } from 'vitest'
import { createPlanningBudget } from './planning-budget.ts'

test('whoever has overdrawn the account waits, nobody else does, and it grows back', () => {
  let now = 0
  let used = 0
  const budget = createPlanningBudget({ now: () => now, usedMs: () => used })
  const spend = (clientIp: string, ms: number) =>
    budget.spend({ actor: anonymous, clientIp }, () => {
      used += ms
      return 'made'
    })
  for (let i = 0; i < 5; i++) expect(spend('10.0.0.1', 1_200)).toBe('made')
  const refusal = expect.objectContaining({
    code: 'RATE_LIMITED',
    extensions: { retryAfterSeconds: 10 },
  })
  expect(() => spend('10.0.0.1', 1)).toThrow(refusal)
  expect(spend('10.0.0.2', 1)).toBe('made')
  now += 10_001
  expect(spend('10.0.0.1', 1)).toBe('made')
})

test('what fails is paid for too', () => {
  let used = 0
  const budget = createPlanningBudget({ now: () => 0, usedMs: () => used })
  const fail = () =>
    budget.spend({ actor: anonymous, clientIp: '10.0.0.1' }, () => {
      used += 5_000
      throw new TypeError('a fault')
    })
  expect(fail).toThrow('a fault')
  expect(fail).toThrow('Too many new operations')
})

test('a flood of callers takes no more memory than the number that is kept', () => {
  let used = 0
  const budget = createPlanningBudget({ now: () => 0, usedMs: () => used })
  const spend = (clientIp: string, ms: number) =>
    budget.spend({ actor: anonymous, clientIp }, () => {
      used += ms
    })
  // In use: it is not the flood that makes its debt forgotten.
  for (let i = 0; i < 5; i++) spend('10.0.0.1', 1_000)
  for (let i = 0; i < 50_000; i++) spend(`fd00:0:0:${i.toString(16)}::1`, 1)
  expect(() => spend('10.0.0.1', 1)).toThrow('Too many new operations')
})
