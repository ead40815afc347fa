import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { actorOf } from './principal.ts'

const userId = newId('usr')
const [first, second, foreign] = [newId('org'), newId('org'), newId('org')]
const principal = {
  userId,
  memberships: [
    { organizationId: first, role: 'MEMBER' },
    { organizationId: second, role: 'OWNER' },
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
