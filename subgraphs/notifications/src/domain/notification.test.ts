import { newId } from '@berth/platform/ids'
import { allocationReasons } from '@berth/schema/events/allocations'
import { expect, test } from 'vitest'
import { notificationKinds, titleOf } from './notification.ts'

const allocationId = newId('alc')

test.each(notificationKinds)('%s has one line of a title, whatever the reason', (kind) => {
  for (const reason of [null, ...allocationReasons]) {
    expect(titleOf({ kind, reason, allocationId })).toMatch(/^[^\n]{10,120}$/)
  }
})

test('a title says what became of the allocation, and why', () => {
  const of = { allocationId, reason: null }
  expect(titleOf({ ...of, kind: 'ALLOCATION_RUNNING' })).toBe(`Allocation ${allocationId} runs`)
  expect(titleOf({ ...of, kind: 'ALLOCATION_RELEASED', reason: 'USER' })).toBe(
    `Allocation ${allocationId} was released`,
  )
  expect(titleOf({ ...of, kind: 'ALLOCATION_FAILED', reason: 'NO_CAPACITY' })).toBe(
    `Allocation ${allocationId} failed: no GPU was free`,
  )
})
