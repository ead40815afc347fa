import type { nodeHealths, nodeStates } from '@berth/schema/events/inventory'

export type NodeState = (typeof nodeStates)[number]
export type NodeHealth = (typeof nodeHealths)[number]

/** Why a probe failed or what needs a look: words that name no address. */
export type Problem =
  /** Failures. */
  | 'BAD_TARGET'
  | 'NO_ANSWER'
  | 'HOST_KEY_CHANGED'
  | 'LOGIN_REFUSED'
  | 'NO_DRIVER'
  | 'NO_GPU'
  /** Warnings. */
  | 'UNKNOWN_GPU_MODEL'
  | 'MIG_ENABLED'
  | 'GPU_NEEDS_RECOVERY'
  | 'GPU_UNIDENTIFIED'
  | 'GPU_MISSING'
  | 'GPU_ON_ANOTHER_NODE'

export type NodeStanding = {
  readonly state: NodeState
  readonly health: NodeHealth
  /** Probes in a row that failed. */
  readonly misses: number
}

/** Failed probes in a row after which a node does not count as there. */
export const MISSES_ALLOWED = 3

/** @param rentable how many of its GPUs can be slots; a new node without one is not READY */
export function afterAnswer(
  node: NodeStanding,
  rentable: number,
  hasProblem: boolean,
): NodeStanding {
  const returns = node.state === 'UNREACHABLE' || (node.state === 'ENROLLING' && rentable > 0)
  return {
    state: returns ? 'READY' : node.state,
    health: hasProblem ? 'WARNING' : 'HEALTHY',
    misses: 0,
  }
}

/** A node that shows another host key than before is not itself: it fails at once. */
export function afterMiss(node: NodeStanding, problem: Problem): NodeStanding {
  const misses = node.misses + 1
  const isGone = misses >= MISSES_ALLOWED
  const isFailure = isGone || node.health === 'FAILURE' || problem === 'HOST_KEY_CHANGED'
  return {
    state: isGone && node.state === 'READY' ? 'UNREACHABLE' : node.state,
    health: isFailure ? 'FAILURE' : 'WARNING',
    misses,
  }
}

/** A node that is being enrolled is awaited: for its first minute it is probed every 3 seconds. */
export function secondsToNextProbe({ state, misses }: NodeStanding, everySeconds: number): number {
  const isAwaited = state === 'ENROLLING' && misses <= AWAITED_PROBES
  return isAwaited ? Math.min(AWAITED_SECONDS, everySeconds) : everySeconds
}

const AWAITED_PROBES = 20
const AWAITED_SECONDS = 3

/** @returns null when the node cannot be cordoned where it is */
export function cordoned(node: NodeStanding): NodeStanding | null {
  const can = ['READY', 'UNREACHABLE', 'CORDONED'].includes(node.state)
  return can ? { ...node, state: 'CORDONED' } : null
}

/** READY again; what fails takes no allocations even so. @returns null when it was not cordoned */
export function uncordoned(node: NodeStanding): NodeStanding | null {
  const can = ['READY', 'CORDONED'].includes(node.state)
  return can ? { ...node, state: 'READY' } : null
}
