import type { Actor } from '@berth/platform/actor'
import type { Metrics } from '@berth/platform/metrics'
import type { Credentials } from '../federation/credentials.ts'
import type { Member } from './member.ts'
import type { Operation } from './operation.ts'
import type { Ring } from './ring.ts'
import { OPEN_ATTEMPTS, type Source } from './source.ts'
import { notAnswering } from './upstream-errors.ts'

/**
 * Those for whom the same is to be made of each event of the same source: it is made once, and its
 * text handed to each. A group never waits for a member.
 */
export type Group = {
  readonly ring: Ring
  /** Replaced by one that differs in what is made of an event, when the graph has changed. */
  operation: Operation
  /** Narrowed to the authority of the operation: what its members have in common. */
  readonly credentials: Credentials
  readonly actor: Actor
  /** Those who take each output as it comes. */
  readonly live: Set<Member>
  /** All others: whoever is held, behind or ahead. */
  readonly others: Set<Member>
  /** No more members: what it has received it still tells. */
  isClosing: boolean
  /** A member came, or went, that is in no doubt. */
  count(change: 1 | -1): void
  /** Whether any member is in no doubt: without one nobody vouches for its authority. */
  readonly isVouchedFor: boolean
  leave(member: Member): void
  /** The owner may not be there: whoever is new is told so after a few attempts. */
  expectSoon(member: Member, source: Source): void
  onBegin(position: string): void
  onOutput(position: string | null, text: string): void
  onTrouble(failures: number): void
  onEnd(error?: unknown): void
}

/** How long a group is kept while it is in doubt for all its members who they are. */
const DOUBT_MS = 1_000
/** For so long a member is new. */
const NEW_MS = 30_000

/** @param onUnused called when it has no members, or nobody who vouches for it any more */
export function createGroup(
  of: Pick<Group, 'operation' | 'credentials' | 'actor'>,
  { ring, onUnused }: { ring: Ring; onUnused: (group: Group) => void },
): Group {
  const live = new Set<Member>()
  const others = new Set<Member>()
  /** Of those who are new while the owner does not answer: its failures and the time, when they came. */
  const expecting = new Map<Member, { failures: number; at: number }>()
  let certain = 0
  let doubt: NodeJS.Timeout | undefined

  const group: Group = {
    ...of,
    ring,
    live,
    others,
    isClosing: false,
    get isVouchedFor() {
      return certain > 0
    },
    count(change) {
      certain += change
      clearTimeout(doubt)
      doubt = undefined
      if (certain === 0 && live.size + others.size > 0) {
        doubt = setTimeout(() => onUnused(group), DOUBT_MS)
      }
    },
    leave(member) {
      live.delete(member)
      others.delete(member)
      expecting.delete(member)
      if (live.size + others.size > 0) return
      clearTimeout(doubt)
      onUnused(group)
    },
    expectSoon(member, source) {
      if (source.failures === 0) return
      expecting.set(member, { failures: source.failures, at: performance.now() })
      source.nudge()
    },
    onBegin(position) {
      ring.beginAt(position)
      for (const member of others) member.onGroup()
    },
    onOutput(position, text) {
      // The hot path: whoever takes it now has it, and only then is it something that was.
      for (const member of live) member.take(text)
      ring.push(position, text)
      if (others.size > 0) for (const member of others) member.onGroup()
    },
    onTrouble(failures) {
      for (const [member, { failures: before, at }] of expecting) {
        const isNew = failures > before && performance.now() - at < NEW_MS
        if (!isNew) expecting.delete(member)
        else if (failures - before >= OPEN_ATTEMPTS) member.end(notAnswering())
      }
    },
    onEnd(error) {
      clearTimeout(doubt)
      for (const member of [...live, ...others]) member.end(error)
    },
  }
  return group
}

/** What is going on, for those who run the gateway. */
export function streamMetrics(metrics: Metrics) {
  return {
    groups: metrics.gauge(
      'berth_stream_groups',
      'Groups of subscriptions that share their answers',
    ),
    members: metrics.gauge('berth_stream_members', 'Subscriptions of clients'),
    catchUps: metrics.gauge('berth_stream_catch_ups', 'Subscriptions that read a backlog', [
      'subgraph',
    ]),
    hydrations: metrics.counter('berth_stream_hydrations_total', 'Events hydrated, each for all'),
    splices: metrics.counter(
      'berth_stream_splices_total',
      'Subscriptions that went over to the shared stream, by where they were before',
      ['from'],
    ),
    ringBytes: metrics.gauge(
      'berth_stream_ring_bytes',
      'Characters of answers that groups keep for those who are a little behind',
    ),
    dropped: metrics.counter(
      'berth_stream_events_dropped_total',
      'Events of streams without positions that were not delivered, by reason',
      ['reason'],
    ),
  }
}

export type StreamMetrics = ReturnType<typeof streamMetrics>
