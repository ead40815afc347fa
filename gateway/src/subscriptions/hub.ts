import { type Actor, narrow } from '@berth/platform/actor'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Revocations } from '@berth/platform/revocations'
import { type GatewayContext, newTraceparent } from '../context.ts'
import type { SubgraphAnswer } from '../federation/answers.ts'
import type { Credentials } from '../federation/credentials.ts'
import { createFeed, type Feed, type FeedListener, type FeedSources } from './feed.ts'
import { createGroup, type Group, streamMetrics } from './group.ts'
import { Member, type MemberHub, type Reading } from './member.ts'
import type { OpenSubscription } from './open.ts'
import { type Operation, operationOf, type Trace } from './operation.ts'
import type { Backoff } from './patience.ts'
import { createRing, createRingBudget, RING_LIMITS, type RingLimits } from './ring.ts'
import { createSources } from './sources.ts'
import { createCurrent, inSlices, type StreamGraph } from './stream-graph.ts'
import type { Upstreams } from './upstreams.ts'

export type StreamLimits = {
  readonly backoff?: Backoff
  /** How long a durable event waits to be hydrated whole. */
  readonly hydrateWithinMs?: number
  /** Events of a source that may wait to be hydrated. */
  readonly maxQueued?: number
  /** Backlogs that are read at once of one subgraph. */
  readonly maxCatchUps?: number
  readonly ring?: RingLimits
  /** Characters of answers that all groups together keep. */
  readonly maxRingBytes?: number
}

export type Hub = {
  readonly open: OpenSubscription
  /**
   * Goes over to another graph. What is open goes on, durable streams by their position; what is
   * not valid any more ends, and says why. It is gone over to in slices: what has not been yet goes
   * on as it was.
   */
  reload(graph: StreamGraph): void
  close(): void
}

const LIMITS = {
  backoff: { baseMs: 100, maxMs: 5_000 },
  hydrateWithinMs: 10_000,
  maxQueued: 256,
  maxCatchUps: 100,
  ring: RING_LIMITS,
  maxRingBytes: 128 * 1024 * 1024,
}
/** Of a ring that nobody else comes to: for its one member, while it is held or catches up. */
const OWN_RING_ITEMS = 16

/**
 * All open subscriptions. Whoever may share a stream, by the declared authority of what is asked,
 * shares it: one source at the owner, and one hydration of each event for all who ask alike. What a
 * client has missed is read for it alone and spliced into the shared stream by position.
 *
 * @param credentialsOf what subgraphs are told of an actor; not asked of the one that a subscription
 * was opened by
 * @param revocations says when policies have changed
 */
export function createHub({
  graph: first,
  upstreams,
  credentialsOf,
  revocations,
  limits: given = {},
  metrics: registry,
  log,
}: {
  graph: StreamGraph
  upstreams: Upstreams
  credentialsOf: (actor: Actor) => Credentials
  revocations?: Pick<Revocations, 'subscribe'>
  limits?: StreamLimits
  metrics: Metrics
  log: Log
}): Hub {
  const limits = { ...LIMITS, ...given }
  const metrics = streamMetrics(registry)
  const members = new Set<Member>()
  const groups = new Map<string, Group>()
  const sources = createSources({ upstreams, ...limits, log })
  const ownRing = { ...limits.ring, maxItems: Math.min(OWN_RING_ITEMS, limits.ring.maxItems) }
  const rings = createRingBudget(limits.maxRingBytes)
  let graph = first
  let current = createCurrent(first)
  let lastOwn = 0
  let isClosed = false

  const unsubscribe = revocations?.subscribe(({ kind, id }) => {
    // No other policy decides who may see what.
    if (kind === 'policy' && (id === '*' || id.startsWith('authz.'))) sources.reopen()
  })

  const hub: MemberHub = {
    metrics,
    credentialsOf: ({ context }, actor) =>
      actor === context.actor ? context.credentials : credentialsOf(actor),
    current: (operation) => current(operation),
    groupOf(member, actor, credentials) {
      const { operation } = member
      const isOwn = operation.plan.authority === 'PERSON'
      const own = isOwn ? ` own ${++lastOwn}` : ''
      const key = JSON.stringify([operation.groupKey, credentials.sharingKey]) + own
      const before = groups.get(key)
      // Nobody is told by one graph what was admitted by the next one.
      if (before) regraph(before)
      const known = groups.get(key)
      const group = known ?? openGroup(member, actor, credentials, key, own)
      const source = feeds.get(group)?.source
      if (known && source && member.at.position === null && !member.isServed) {
        group.expectSoon(member, source)
      }
      return group
    },
    read,
    left: (member) => void members.delete(member),
  }
  const feeds = new WeakMap<Group, Feed>()

  return {
    open(plan, variables, context, client) {
      const operation = current(operationOf(plan, graph.executor, variables))
      const member = new Member(hub, operation, context, client)
      members.add(member)
      member.start()
      return member
    },
    reload(next) {
      graph = next
      current = createCurrent(next)
      const isOver = () => graph !== next || isClosed
      inSlices([...groups.values()], { each: regraph, isOver }).catch((err: unknown) =>
        log.error({ err }, 'going over to another graph'),
      )
    },
    close() {
      isClosed = true
      unsubscribe?.()
      for (const member of members) member.close()
    },
  }

  /** One's own begins where its only member is, a shared one with what comes next. */
  function openGroup(
    member: Member,
    actor: Actor,
    credentials: Credentials,
    key: string,
    own: string,
  ): Group {
    const { operation, context } = member
    const { plan } = operation
    const trace = own ? traceOf(context) : newTrace()
    let feed: Feed | undefined
    const group = createGroup(
      { operation, credentials, actor: narrow(actor, plan.authority) },
      {
        ring: createRing(own && plan.durable ? ownRing : limits.ring, rings),
        onUnused: () => {
          closing()
          feed?.close()
          for (const it of [...group.live, ...group.others]) it.abandon()
          group.ring.close()
          metrics.ringBytes.set(rings.bytes)
        },
      },
    )
    groups.set(key, group)
    metrics.groups.inc()
    const after = own ? member.at.position : null
    const part = sources.share(group, {
      key: own && key,
      after,
      trace,
      isAccepted: member.isServed,
    })
    const { position } = part.first
    if (position !== null) group.ring.beginAt(position)
    feed = feedOf(group, part, part.trace, {
      onBegin: (position) => group.onBegin(position),
      onOutput(position, text) {
        group.onOutput(position, text)
        metrics.ringBytes.set(rings.bytes)
      },
      onTrouble: (failures) => group.onTrouble(failures),
      onClosing: closing,
      onEnd: (error) => group.onEnd(error),
    })
    feeds.set(group, feed)
    return group

    /** Once: nobody joins it from then on. */
    function closing(): void {
      if (group.isClosing) return
      group.isClosing = true
      groups.delete(key)
      part.left()
      metrics.groups.dec()
    }
  }

  /** In its turn: a thousand that come back at once would be too much for an owner. */
  function read(member: Member, group: Group, after: string): Reading {
    const { operation } = member
    const { service } = operation.plan
    let feed: Feed | undefined
    const leave = sources.turnsOf(service).take(() => {
      metrics.catchUps.inc({ subgraph: service })
      const trace = traceOf(member.context)
      const vouch = () => (member.actor === null ? null : group.credentials)
      const open = (from: string | null, isAccepted: boolean) =>
        sources.open(operation, { after: from, trace, isAccepted, vouch })
      const alone = {
        first: open(after, member.isServed),
        left: () => undefined,
        resume: (from: string | null) => open(from, true),
        rejoin: () => null,
      }
      feed = feedOf(group, alone, trace, {
        onBegin: () => undefined,
        onOutput: (position, text) => member.onRead(position, text),
        onTrouble: () => undefined,
        onClosing: () => undefined,
        onEnd: (error) => member.end(error),
      })
    })
    return {
      close() {
        if (feed) metrics.catchUps.dec({ subgraph: service })
        feed?.close()
        leave()
      },
    }
  }

  function feedOf(group: Group, from: FeedSources, trace: Trace, listener: FeedListener): Feed {
    const { requestId } = trace
    const context: GatewayContext = {
      ...trace,
      actor: group.actor,
      credentials: group.credentials,
      clientIp: '',
      idempotencyKey: null,
      log: log.child({ requestId }),
    }
    const { backoff, hydrateWithinMs, maxQueued } = limits
    return createFeed(
      {
        from,
        isDurable: group.operation.plan.durable !== null,
        hydrate(event: SubgraphAnswer) {
          metrics.hydrations.inc()
          const { plan, executor, variables } = group.operation
          const { node, document, definition } = plan
          return executor.hydrate(event, { node, document, definition, variables, context })
        },
        request: context,
        backoff,
        hydrateWithinMs,
        maxQueued,
        onDrop: () => metrics.dropped.inc({ reason: 'hydration' }),
      },
      listener,
    )
  }

  function regraph(group: Group): void {
    if (group.isClosing || group.operation.plan.schema === graph.schema) return
    let next: Operation
    try {
      next = current(group.operation)
    } catch (error) {
      group.onEnd(error)
      return
    }
    // What is asked of the owner is the same: only what is made of an event may be another thing.
    if (next.groupKey === group.operation.groupKey) {
      group.operation = next
      for (const members of [group.live, group.others]) {
        for (const member of members) member.operation = next
      }
      return
    }
    for (const member of [...group.live, ...group.others]) member.move(next)
  }
}

function traceOf({ requestId, traceparent }: GatewayContext): Trace {
  return { requestId, traceparent }
}

/** What several share is traced to none of them. */
function newTrace(): Trace {
  return { requestId: newUuid(), traceparent: newTraceparent() }
}
