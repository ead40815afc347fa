import type { AllocationReason, AllocationState } from '@berth/schema/events/allocations'

/** What moves an allocation from one state to another. */
export const triggers = [
  'reserve',
  'provision',
  'start',
  'run',
  'stop',
  'stopped',
  'release',
  'confirm',
  'expire',
  'fail',
] as const
export type Trigger = (typeof triggers)[number]

export const actions = ['RELEASE', 'OPEN_TERMINAL'] as const
export type Action = (typeof actions)[number]

/** How long a state may last, and what happens to an allocation that is in it for longer. */
export type Deadline = {
  readonly seconds: number
  readonly trigger: Trigger
  /** null keeps the reason it has. */
  readonly reason: AllocationReason | null
}

type Row = {
  readonly on: Readonly<Partial<Record<Trigger, AllocationState>>>
  /** Only of a state that passes by itself. */
  readonly deadline?: Deadline
  /** Whether people can log in and open terminals. */
  readonly isUsable?: true
}

const tooLate = (seconds: number): Deadline => ({
  seconds,
  trigger: 'fail',
  reason: 'PROVISION_TIMEOUT',
})

/** How long a node is asked to confirm that it is clean before its slots are given up as unclean. */
export const CLEAN_SECONDS = 600

/**
 * The state machine of an allocation: every state, where it can go and how long it may last.
 *
 * A state without `release` that is not RELEASING is terminal: nothing leads out of it. STOPPING and
 * STOPPED are here to be complete; nothing asks for `stop` yet. A start out of STOPPED would begin the
 * next run: `run` + 1, `startedAt` null, and slots and hold of its own.
 */
export const machine = {
  REQUESTED: {
    on: { reserve: 'RESERVED', release: 'RELEASING', fail: 'FAILED' },
    deadline: tooLate(60),
  },
  RESERVED: {
    on: { provision: 'PROVISIONING', release: 'RELEASING', fail: 'FAILED' },
    deadline: tooLate(60),
  },
  PROVISIONING: {
    on: { start: 'STARTING', release: 'RELEASING', fail: 'FAILED' },
    deadline: tooLate(300),
  },
  STARTING: {
    on: { run: 'RUNNING', release: 'RELEASING', fail: 'FAILED' },
    deadline: tooLate(300),
  },
  RUNNING: {
    on: { stop: 'STOPPING', release: 'RELEASING', fail: 'FAILED' },
    isUsable: true,
  },
  STOPPING: {
    on: { stopped: 'STOPPED', release: 'RELEASING', fail: 'FAILED' },
    deadline: { seconds: 120, trigger: 'fail', reason: 'NODE_LOST' },
  },
  STOPPED: { on: { release: 'RELEASING', fail: 'FAILED' } },
  RELEASING: {
    on: { confirm: 'RELEASED', expire: 'RELEASED' },
    deadline: { seconds: CLEAN_SECONDS, trigger: 'expire', reason: null },
  },
  RELEASED: { on: {} },
  FAILED: { on: {} },
} as const satisfies Record<AllocationState, Row>

const rows: Readonly<Record<AllocationState, Row>> = machine

/** Where a trigger leads; null when the state does not allow it. */
export function target(state: AllocationState, trigger: Trigger): AllocationState | null {
  return rows[state].on[trigger] ?? null
}

export function deadlineOf(state: AllocationState): Deadline | null {
  return rows[state].deadline ?? null
}

/** What a person may ask of an allocation in this state. */
export function allowedActions(state: AllocationState): Action[] {
  return actions.filter((action) =>
    action === 'RELEASE' ? isLive(state) : rows[state].isUsable === true,
  )
}

/** Whether it holds or may come to hold resources that nobody has asked it to give back. */
export function isLive(state: AllocationState): boolean {
  return target(state, 'release') !== null
}

export function isTerminal(state: AllocationState): boolean {
  return Object.keys(rows[state].on).length === 0
}
