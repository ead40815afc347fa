import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'
import { deadlineOf, isTerminal, type Trigger, target } from './machine.ts'

/** What of an allocation its transitions read and write. */
export type Progress = {
  readonly state: AllocationState
  readonly reason: AllocationReason | null
  /** When the run began. */
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  /** When the state has lasted too long; null in a state that lasts. */
  readonly stateDeadlineAt: Date | null
  /** When the worker looks at it next; null when there is nothing to do. */
  readonly nextAttemptAt: Date | null
  /** Whether the node may carry something of it: from PROVISIONING until it confirmed to be clean. */
  readonly isNodeTouched: boolean
  /** Whether it ended while slots, hold or node account are still to be given back. */
  readonly isCleanupPending: boolean
}

/** @throws {IllegalTransition} when the machine has no such transition: a caller's bug or a lost race. */
export function advance(
  from: Progress,
  trigger: Trigger,
  { now, reason }: { now: Date; reason?: AllocationReason | null },
): Progress {
  const state = target(from.state, trigger)
  if (!state) throw new IllegalTransition(from.state, trigger)
  const deadline = deadlineOf(state)
  const isEnd = state === 'RELEASING' || isTerminal(state)
  // A confirmed release has given everything back; every other end leaves that to the clean-up.
  const isCleanupPending = isTerminal(state) && trigger !== 'confirm'
  return {
    state,
    reason: isEnd ? (reason ?? from.reason) : null,
    startedAt: state === 'RUNNING' ? (from.startedAt ?? now) : from.startedAt,
    endedAt: isEnd ? (from.endedAt ?? now) : null,
    stateDeadlineAt: deadline && after(now, deadline.seconds),
    nextAttemptAt: deadline || isCleanupPending ? now : null,
    isNodeTouched: trigger === 'confirm' ? false : from.isNodeTouched || state === 'PROVISIONING',
    isCleanupPending,
  }
}

/** An allocation that was asked for at `now`. */
export function requested(now: Date): Progress {
  return {
    state: 'REQUESTED',
    reason: null,
    startedAt: null,
    endedAt: null,
    stateDeadlineAt: after(now, deadlineOf('REQUESTED')?.seconds ?? 0),
    nextAttemptAt: now,
    isNodeTouched: false,
    isCleanupPending: false,
  }
}

export class IllegalTransition extends Error {
  override readonly name = 'IllegalTransition'
  readonly state: AllocationState
  readonly trigger: Trigger
  constructor(state: AllocationState, trigger: Trigger) {
    super(`${trigger} does not lead out of ${state}`)
    this.state = state
    this.trigger = trigger
  }
}

export function after(time: Date, seconds: number): Date {
  return new Date(time.getTime() + seconds * 1_000)
}
