import { type Actor, narrow } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Revocations } from '@berth/platform/revocations'
import { type DocumentNode, type GraphQLSchema, validate } from 'graphql'
import { type GatewayContext, newTraceparent } from '../context.ts'
import type { SubgraphAnswer } from '../federation/answers.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { Executor } from '../federation/executor.ts'
import { createFeed, type Feed, type FeedListener } from './feed.ts'
import { createGroup, type Group, streamMetrics } from './group.ts'
import { Member, type MemberHub, type Reading } from './member.ts'
import type { OpenSubscription } from './open.ts'
import { type Operation, operationOf, type Trace } from './operation.ts'
import type { Backoff } from './patience.ts'
import type { Planner } from './plan.ts'
import type { RingLimits } from './ring.ts'
import type { Source } from './source.ts'
import { createSources } from './sources.ts'
import type { Upstreams } from './upstreams.ts'

/** What streams need of a supergraph; replaced as one when it is reloaded. */
export type StreamGraph = {
  /** What clients see. */
  readonly schema: GraphQLSchema
  readonly planner: Planner
  readonly executor: Pick<Executor, 'hydrate'>
}

export type StreamLimits = {
  readonly backoff?: Backoff
  /** How long a durable event waits to be hydrated whole. */
  readonly hydrateWithinMs?: number
  /** Events of a source that may wait to be hydrated. */
  readonly maxQueued?: number
  /** Backlogs that are read at once of one subgraph. */
  readonly maxCatchUps?: number
  readonly ring?: RingLimits
}

export type Hub = {
  readonly open: OpenSubscription
  /**
   * Goes over to another graph. What is open goes on, durable streams by their position; what is
   * not valid any more ends, and says why.
   */
  reload(graph: StreamGraph): void
  close(): void
}

const LIMITS = {
  backoff: { baseMs: 100, maxMs: 5_000 },
  hydrateWithinMs: 10_000,
  maxQueued: 256,
  maxCatchUps: 100,
}
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
  let graph = first
  /** What is wrong in this graph with documents of others. */
  let problems = new WeakMap<DocumentNode, string | null>()
  let lastOwn = 0

  const unsubscribe = revocations?.subscribe(({ kind }) => {
    if (kind === 'policy') sources.reopen()
  })

  const hub: MemberHub = {
    metrics,
    credentialsOf: ({ context }, actor) =>
      actor === context.actor ? context.credentials : credentialsOf(actor),
    current,
    groupOf(member, actor, credentials) {
      const { operation } = member
      const isOwn = operation.plan.authority === 'PERSON'
      const own = isOwn ? ` own ${++lastOwn}` : ''
      const key = JSON.stringify([operation.groupKey, credentials.sharingKey]) + own
      const known = groups.get(key)
      const group = known ?? openGroup(member, actor, credentials, key, own)
      const source = sourceOf.get(group)
      if (known && source && member.at.position === null && !member.isServed) {
        group.expectSoon(member, source)
      }
      return group
    },
    read,
    left: (member) => void members.delete(member),
  }
  const sourceOf = new WeakMap<Group, Source>()

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
      problems = new WeakMap()
      for (const group of [...groups.values()]) regraph(group)
    },
    close() {
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
        ...(limits.ring ? { ring: limits.ring } : {}),
        onUnused: () => {
          closing()
          feed?.close()
          for (const it of [...group.live, ...group.others]) it.abandon()
        },
      },
    )
    groups.set(key, group)
    metrics.groups.inc()
    const after = own ? member.at.position : null
    const sharing = sources.share(group, {
      key: own && key,
      after,
      trace,
      isAccepted: member.isServed,
    })
    const { source } = sharing
    sourceOf.set(group, source)
    if (source.position !== null) group.ring.beginAt(source.position)
    feed = feedOf(group, source, sharing.trace, {
      onBegin: (position) => group.onBegin(position),
      onOutput: (position, text) => group.onOutput(position, text),
      onTrouble: (failures) => group.onTrouble(failures),
      onClosing: closing,
      onEnd: (error) => group.onEnd(error),
    })
    return group

    /** Once: nobody joins it from then on. */
    function closing(): void {
      if (group.isClosing) return
      group.isClosing = true
      groups.delete(key)
      sharing.groups.delete(group)
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
      const source = sources.open(operation, { after, trace, isAccepted: member.isServed, vouch })
      feed = feedOf(group, source, trace, {
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

  function feedOf(group: Group, source: Source, trace: Trace, listener: FeedListener): Feed {
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
        source,
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

  /** The operation as the graph is by now. @throws {DomainError} when it is not valid any more */
  function current(operation: Operation): Operation {
    const { plan, variables } = operation
    if (plan.schema === graph.schema) return operation
    const { document, definition } = plan
    const problem = problemIn(document)
    if (problem) throw gone(problem)
    try {
      return operationOf(graph.planner(document, definition), graph.executor, variables)
    } catch (error) {
      throw gone(error instanceof AggregateError ? String(error.errors[0]?.message) : '', error)
    }
  }

  /** Asked once for each document, however many subscriptions there are of it. */
  function problemIn(document: DocumentNode): string | null {
    const known = problems.get(document)
    if (known !== undefined) return known
    const problem = validate(graph.schema, document)[0]?.message ?? null
    problems.set(document, problem)
    return problem
  }

  function regraph(group: Group): void {
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
      return
    }
    for (const member of [...group.live, ...group.others]) member.move(next)
  }
}

function gone(why: string, cause?: unknown): DomainError {
  const message = `The graph has changed, and this subscription is not valid any more. ${why}`
  return new DomainError('BAD_INPUT', message.trim(), { cause })
}

function traceOf({ requestId, traceparent }: GatewayContext): Trace {
  return { requestId, traceparent }
}

/** What several share is traced to none of them. */
function newTrace(): Trace {
  return { requestId: newUuid(), traceparent: newTraceparent() }
}
