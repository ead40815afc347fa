import type { Ring } from './ring.ts'

/**
 * Where one member of a group stands in its stream.
 *
 * - `held`: takes nothing; it stays where it is.
 * - `live`: takes each output of the group as it comes, and has all before it.
 * - `behind`: reads privately from the owner what the group's ring does not reach back to.
 * - `ahead`: has what the group has yet to tell, and passes over it.
 */
export type Member = {
  mode: 'held' | 'live' | 'behind' | 'ahead'
  /**
   * Index of the group's output that it takes next; -1 where only its position says, and once it is
   * live and has all that the ring holds.
   */
  next: number
  /** Of the last output that it took, or after which it begins; null: with the next event. */
  position: string | null
  /** While it is `behind`: the positions that it has passed, the newest last. */
  passed: string[]
}

/** Enough to see that a group is behind, once the two are as close as a ring is long. */
const MAX_PASSED = 256

/**
 * Joins a member that is held. When it is live then, it takes from `next` on what the ring holds.
 *
 * @returns how many outputs are lost to it: it was held for longer than the ring reaches back, and
 * has no position to read after
 */
export function join(member: Member, ring: Ring): number {
  const { next, position } = member
  if (next >= ring.start) {
    member.mode = 'live'
    return 0
  }
  if (position === null) {
    member.mode = 'live'
    member.next = next < 0 ? ring.end : ring.start
    return next < 0 ? 0 : ring.start - next
  }
  if (!meet(member, ring)) {
    member.mode = 'behind'
    member.passed = [position]
  }
  return 0
}

/**
 * Stops taking anything, be it in the midst of what the ring holds, to join this group again, or
 * after `leave` another one.
 */
export function hold(member: Member, ring: Ring): void {
  if (member.mode === 'live') {
    if (member.next < 0) member.next = ring.end
    member.position = ring.before(member.next) ?? member.position
  }
  member.mode = 'held'
  member.passed = []
}

/** Of a held member: the indices of a group mean nothing in another one. */
export function leave(member: Member): void {
  member.next = -1
}

/** The group knows where it begins, or has one more output; the member is not live. */
export function onGroup(member: Member, ring: Ring): void {
  if (member.mode === 'held') {
    // Held since before the group knew: this is where it stands, should the ring pass it by.
    if (member.position === null && member.next === ring.end) member.position = ring.last
    return
  }
  if (meet(member, ring)) return
  // Of positions only equality is known: what the group tells now, the member has had.
  const isBehindUs = ring.last !== null && member.passed.includes(ring.last)
  if (member.mode === 'behind' && isBehindUs) {
    member.mode = 'ahead'
    member.passed = []
  }
}

/** It took an output of its private reading. When it is live then, its private reading is over. */
export function onPrivate(
  member: Member,
  position: string,
  ring: Ring,
  maxPassed = MAX_PASSED,
): void {
  member.position = position
  if (meet(member, ring)) return
  member.passed.push(position)
  if (member.passed.length > maxPassed) member.passed.shift()
}

function meet(member: Member, ring: Ring): boolean {
  if (member.position === null) return false
  const next = ring.after(member.position)
  if (next === undefined) return false
  member.mode = 'live'
  member.next = next
  member.passed = []
  return true
}
