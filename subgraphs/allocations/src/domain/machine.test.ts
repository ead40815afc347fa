import { allocationReasons, allocationStates } from '@berth/schema/events/allocations'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { advance, after, IllegalTransition, type Progress, requested } from './advance.ts'
import {
  allowedActions,
  deadlineOf,
  isLive,
  isTerminal,
  machine,
  target,
  triggers,
} from './machine.ts'

const start = new Date('2026-01-01T00:00:00.000Z')
const forward = ['reserve', 'provision', 'start', 'run'] as const

describe('the machine', () => {
  test('only RELEASED and FAILED are terminal, and every state can be reached', () => {
    expect(allocationStates.filter(isTerminal)).toEqual(['RELEASED', 'FAILED'])
    const reached = new Set([
      'REQUESTED',
      ...Object.values(machine).flatMap((it) => Object.values(it.on)),
    ])
    expect([...reached].sort()).toEqual([...allocationStates].sort())
  })

  test('every state that a worker moves on has a deadline that leads somewhere', () => {
    for (const state of allocationStates) {
      const deadline = deadlineOf(state)
      const lasts = ['RUNNING', 'STOPPED', 'RELEASED', 'FAILED'].includes(state)
      expect(deadline === null).toBe(lasts)
      if (deadline) expect(target(state, deadline.trigger)).not.toBeNull()
    }
  })

  test('from every state the end is at most one deadline away once a release is asked for', () => {
    for (const state of allocationStates.filter(isLive)) {
      expect(target(state, 'release')).toBe('RELEASING')
      expect(target(state, 'fail')).toBe('FAILED')
    }
    expect(target('RELEASING', 'expire')).toBe('RELEASED')
  })

  test('actions come from the table', () => {
    expect(allowedActions('RUNNING')).toEqual(['RELEASE', 'OPEN_TERMINAL'])
    expect(allowedActions('PROVISIONING')).toEqual(['RELEASE'])
    for (const state of ['RELEASING', 'RELEASED', 'FAILED'] as const) {
      expect(allowedActions(state)).toEqual([])
    }
  })
})

describe('any sequence of commands', () => {
  const commands = fc.array(
    fc.record({
      trigger: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(...forward) },
        { weight: 1, arbitrary: fc.constantFrom(...triggers) },
      ),
      reason: fc.option(fc.constantFrom(...allocationReasons)),
      seconds: fc.integer({ min: 0, max: 10_000 }),
    }),
    { maxLength: 40 },
  )

  test('makes no illegal transition, and what has ended stays', () => {
    fc.assert(
      fc.property(commands, (sequence) => {
        let now = start
        let progress = requested(now)
        for (const { trigger, reason, seconds } of sequence) {
          now = after(now, seconds)
          const before = progress
          const legal = target(before.state, trigger)
          if (!legal) {
            expect(() => advance(before, trigger, { now, reason })).toThrow(IllegalTransition)
            continue
          }
          expect(isTerminal(before.state)).toBe(false)
          progress = advance(before, trigger, { now, reason })
          expect(progress.state).toBe(legal)
          expectInvariants(before, progress)
          if (trigger === 'confirm')
            expect(progress.isNodeTouched || progress.isCleanupPending).toBe(false)
          if (trigger === 'expire') expect(progress.isCleanupPending).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })

  function expectInvariants(before: Progress, it: Progress) {
    // Time stands on the states it belongs to, and is never rewritten.
    expect(it.endedAt !== null).toBe(it.state === 'RELEASING' || isTerminal(it.state))
    if (before.startedAt) expect(it.startedAt).toEqual(before.startedAt)
    if (before.endedAt) expect(it.endedAt).toEqual(before.endedAt)
    if (it.state === 'RUNNING') expect(it.startedAt).not.toBeNull()
    // A transitional state has a deadline, and what is not finished is looked at again.
    expect(it.stateDeadlineAt !== null).toBe(deadlineOf(it.state) !== null)
    if (it.stateDeadlineAt || it.isCleanupPending) expect(it.nextAttemptAt).not.toBeNull()
    // Nothing ends without giving back: either the node confirmed, or the clean-up is still to come.
    if (it.state === 'FAILED') expect(it.isCleanupPending).toBe(true)
    // From PROVISIONING on the node is touched, until it is clean.
    if (before.isNodeTouched && it.state !== 'RELEASED') expect(it.isNodeTouched).toBe(true)
  }
})
