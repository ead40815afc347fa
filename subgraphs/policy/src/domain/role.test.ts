import { organizationRoles } from '@berth/schema/events/policy'
import { expect, test } from 'vitest'
import { isLowered, reaches } from './role.ts'

test.each([
  ['OWNER', ['OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER']],
  ['ADMIN', ['ADMIN', 'MEMBER', 'BILLING', 'VIEWER']],
  ['MEMBER', ['MEMBER', 'BILLING', 'VIEWER']],
  ['BILLING', ['MEMBER', 'BILLING', 'VIEWER']],
  ['VIEWER', ['VIEWER']],
] as const)('one who is %s reaches %s', (own, expected) => {
  expect(organizationRoles.filter((it) => reaches(own, it))).toEqual(expected)
})

test('another role of the same rank takes something away, and the same role nothing', () => {
  expect(isLowered('MEMBER', 'BILLING')).toBe(true)
  expect(isLowered('OWNER', 'ADMIN')).toBe(true)
  expect(isLowered('ADMIN', 'OWNER')).toBe(false)
  expect(isLowered('ADMIN', 'ADMIN')).toBe(false)
})
