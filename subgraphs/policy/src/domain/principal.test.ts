import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { actorOf } from './principal.ts'

const userId = newId('usr')
const [first, second, foreign] = [newId('org'), newId('org'), newId('org')]
const principal = {
  userId,
  isSuspended: false,
  memberships: [
    { organizationId: first, role: 'MEMBER', isSuspended: false },
    { organizationId: second, role: 'OWNER', isSuspended: false },
  ],
  platformRoles: ['operator'],
} as const

test('a person acts in their oldest organization unless they ask for another', () => {
  const platform = 'platform:operator'
  expect(actorOf(principal, null)).toEqual({
    userId,
    organizationId: first,
    roles: ['member', platform],
  })
  expect(actorOf(principal, second).roles).toEqual(['owner', platform])
})

test('nobody acts in an organization that they do not belong to', () => {
  expect(() => actorOf(principal, foreign)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
})

test('a person without an organization keeps their roles of the platform', () => {
  expect(actorOf({ ...principal, memberships: [] }, null)).toEqual({
    userId,
    organizationId: null,
    roles: ['platform:operator'],
  })
})

test('a suspended person is nobody', () => {
  const suspended = { ...principal, isSuspended: true }
  for (const asked of [null, first, foreign]) {
    expect(() => actorOf(suspended, asked)).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
  }
})

test('a suspended organization is refused when it is asked for, and passed over when none is', () => {
  const [one, two] = principal.memberships
  const memberships = [{ ...one, isSuspended: true }, two]
  expect(actorOf({ ...principal, memberships }, null).organizationId).toBe(second)
  expect(() => actorOf({ ...principal, memberships }, first)).toThrow(
    expect.objectContaining({ code: 'FORBIDDEN', extensions: { suspended: true } }),
  )
})
