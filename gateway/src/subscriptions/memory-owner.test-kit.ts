import { type Actor, type ActorClaims, createActor } from '@berth/platform/actor'
import { ACTOR_EXTENSION } from '@berth/platform/assertion'
import type { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import { type DocumentNode, getOperationAST, parse, validate } from 'graphql'
import { decodeJwt, UnsecuredJWT } from 'jose'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import type { Standing } from '../authentication/standing.ts'
import { createAuthorityOf } from '../authority.ts'
import { createActorCredentials } from '../federation/credentials.ts'
import type { Hydration } from '../federation/executor.ts'
import { buildGraph } from '../federation/graph.ts'
import { createHub, type StreamLimits } from './hub.ts'
import { createPlanner } from './plan.ts'
import type { StreamGraph } from './stream-graph.ts'
import type { Sink, Upstreams } from './upstreams.ts'

/** Organizations and people of the tests. */
export const ORG = 'org_01h455vb4pex5vsknk084sn02q' as Id<'org'>
export const OTHER_ORG = 'org_01h455vb4pex5vsknk084sn02r' as Id<'org'>

export function person(n: number, { org = ORG, roles = ['member'] } = {}): Actor {
  const subject = `usr_01h455vb4pex5vsknk084s${String(n).padStart(4, '0')}` as Id<'usr'>
  return createActor({ kind: 'person', subject, organizationId: org, roles })
}

export const log = createLog({ service: 'test', instance: 'test', level: 'silent' })

type Upstream = { claims: ActorClaims; after: string | null; query: string }

/**
 * An owner in memory: a log of events for each organization, told to each subscription in its order
 * and as late as the event loop likes. Cursors are `c<n>`, events without positions are `ticks`.
 */
export function memoryOwner() {
  const logs = new Map<string, number>()
  const open = new Map<Sink, { pump: () => void; service: string; tick: (n: number) => void }>()
  const opened: Upstream[] = []
  let isAway = false
  let oldest = 0
  let refusal: string | null = null

  const upstreams: Upstreams = {
    subscribe(service, payload, _socket, sink) {
      const token = String(payload.extensions?.[ACTOR_EXTENSION])
      const claims = decodeJwt(token) as unknown as ActorClaims
      const { berthAfter: after = null } = (payload.variables ?? {}) as { berthAfter?: string }
      opened.push({ claims, after, query: payload.query })
      const key = claims.org ?? ''
      let isOpen = true
      let position = after === null ? (logs.get(key) ?? 0) : Number(after.slice(1))
      const stop = () => {
        isOpen = false
        open.delete(sink)
      }
      const end = (say: () => void) => {
        stop()
        say()
      }
      let isPumping = false
      const pump = () => {
        if (isPumping) return
        isPumping = true
        setImmediate(() => {
          isPumping = false
          for (let n = 0; n < 20 && isOpen && position < (logs.get(key) ?? 0); n++) {
            position++
            sink.next(eventOf(service, position))
          }
          if (isOpen && position < (logs.get(key) ?? 0)) pump()
        })
      }
      setImmediate(() => {
        if (!isOpen) return
        if (isAway) return end(() => sink.lost(new Error('refused'), false))
        const code = refusal ?? (after !== null && position < oldest ? 'STREAM_RESET' : null)
        if (code) {
          const error = { message: code, path: ['allocationUpdated'], extensions: { code } }
          return end(() => sink.failed([error]))
        }
        if (payload.extensions?.[START_EXTENSION]) {
          sink.next({ data: null, extensions: { [START_EXTENSION]: `c${position}` } })
        }
        pump()
      })
      open.set(sink, {
        pump,
        service,
        tick: (n) => void (isOpen && sink.next({ data: { ticks: { number: n } } })),
      })
      return stop
    },
    close: () => undefined,
  }
  return {
    upstreams,
    /** Every subscription that there was. */
    opened,
    get openCount() {
      return open.size
    },
    publish(count = 1, org: string = ORG) {
      logs.set(org, (logs.get(org) ?? 0) + count)
      for (const it of open.values()) it.pump()
    },
    tick(n: number) {
      for (const it of [...open.values()]) it.tick(n)
    },
    /** Every connection to it is lost. */
    cut() {
      for (const sink of [...open.keys()]) {
        open.delete(sink)
        sink.lost(null, true)
      }
    },
    away(is: boolean) {
      isAway = is
    },
    refuse(code: string | null) {
      refusal = code
    },
    forgetBefore(position: number) {
      oldest = position
    },
  }
}

function eventOf(service: string, n: number) {
  const field = service === 'notifications' ? 'inbox' : 'allocationUpdated'
  return { data: { [field]: { berthCursor: `c${n}`, n } } }
}

export type TestStanding = Standing & {
  /** Who it was when it was last certain. */
  readonly known: Actor
  /** @param isSilent nobody is told of it */
  set(now: Actor | null | DomainError, isSilent?: boolean): void
}

export function standing(first: Actor): TestStanding {
  const listeners = new Set<(now: Actor | null | DomainError) => void>()
  let now: Actor | null | DomainError = first
  let known = first
  return {
    get now() {
      return now
    },
    get known() {
      return known
    },
    actor: async () => known,
    watch(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close: () => undefined,
    set(to, isSilent = false) {
      now = to
      if (to && 'kind' in to) known = to
      if (!isSilent) for (const it of listeners) it(to)
    },
  }
}

export type TestClient = ReturnType<TestHub['open']>
export type TestHub = ReturnType<typeof openTestHub>

/** A hub on that owner; hydration takes a while, and tells whom it was made for. */
export function openTestHub(
  owner: ReturnType<typeof memoryOwner>,
  { limits = {}, sdl = testSupergraph() }: { limits?: StreamLimits; sdl?: string } = {},
) {
  const credentialsOf = createActorCredentials({
    sign: async (actor) => unsigned(actor),
  })
  const concerns = new Set<(concern: Concern) => void>()
  const metrics = createMetrics({ service: 'test' })
  const hydrated: Hydration[] = []
  const generation = { version: 1 }
  let graph = graphOf(sdl, 1)
  const hub = createHub({
    graph,
    upstreams: owner.upstreams,
    credentialsOf,
    revocations: {
      subscribe(listener) {
        concerns.add(listener)
        return () => void concerns.delete(listener)
      },
    },
    limits: { backoff: { baseMs: 1, maxMs: 5 }, ...limits },
    metrics,
    log,
  })

  function graphOf(text: string, version: number): StreamGraph {
    const built = buildGraph(text)
    const documents = new Map<string, DocumentNode>()
    return {
      schema: built.schema,
      documents: {
        open(source) {
          const document = documents.get(source) ?? parse(source)
          const errors = validate(built.schema, document)
          if (errors.length > 0) throw new AggregateError(errors)
          documents.set(source, document)
          return document
        },
      },
      planner: createPlanner(built, createAuthorityOf(built.supergraph)),
      executor: {
        async hydrate(event, of) {
          hydrated.push(of)
          // The first of several may take longest: order must come from the group.
          for (let turns = Math.random() * 3; turns > 1; turns--) {
            await new Promise((resolve) => setImmediate(resolve))
          }
          const [field] = Object.values(event.data ?? {}) as { n?: number; number?: number }[]
          const told = {
            n: field?.n ?? field?.number,
            by: of.context.credentials.sharingKey,
            version,
          }
          return { dataText: JSON.stringify(told), errors: [] }
        },
      },
    }
  }

  return {
    hub,
    metrics,
    hydrated,
    executor: () => graph.executor,
    graphOf,
    concern: (concern: Concern) => {
      for (const it of [...concerns]) it(concern)
    },
    reload(text: string) {
      graph = graphOf(text, ++generation.version)
      hub.reload(graph)
    },
    async metric(name: string): Promise<number> {
      const values = await metrics.registry.getSingleMetric(name)?.get()
      return (values?.values ?? []).reduce((sum, { value }) => sum + value, 0)
    },
    open(
      query: string,
      of: TestStanding,
      {
        after,
        room,
        variables = {},
      }: {
        after?: string | undefined
        room?: () => Promise<void> | null
        variables?: Record<string, unknown>
      } = {},
    ) {
      const document = parse(query)
      const definition = getOperationAST(document)
      if (!definition) throw new TypeError('no operation')
      const texts: string[] = []
      const endings: unknown[] = []
      const actor = of.known
      const client = {
        standing: of,
        texts,
        endings,
        get numbers(): number[] {
          return texts.map((it) => JSON.parse(it).data.n)
        },
        get cursor(): string | undefined {
          const last = texts.at(-1)
          return last === undefined ? after : `c${JSON.parse(last).data.n}`
        },
        next: (text: string) => void texts.push(text),
        end: (error?: unknown) => void endings.push(error),
        ...(room ? { room } : {}),
        close(): void {},
      }
      const context = {
        actor,
        credentials: credentialsOf(actor),
        clientIp: '127.0.0.1',
        requestId: 'request-1',
        traceparent: '00-0-0-00',
        idempotencyKey: null,
        log,
      }
      const plan = graph.planner(document, definition)
      const member = hub.open(plan, { after, ...variables }, context, client)
      client.close = () => member.close()
      return client
    },
  }
}

const tokens = new WeakMap<Actor, string>()

function unsigned(actor: Actor): string {
  const known = tokens.get(actor)
  if (known) return known
  const { kind, authority, organizationId, roles } = actor
  const sub = authority === 'PERSON' && kind === 'person' ? { sub: actor.subject } : {}
  const claims = {
    kind,
    authority,
    roles,
    ...sub,
    ...(organizationId ? { org: organizationId } : {}),
  }
  const token = new UnsecuredJWT(claims).setExpirationTime('60s').encode()
  tokens.set(actor, token)
  return token
}
