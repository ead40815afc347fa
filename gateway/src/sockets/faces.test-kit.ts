import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { type Actor, createActor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { type HttpServer, startHttp } from '@berth/platform/http'
import { createLog } from '@berth/platform/log'
import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { buildSchema, GraphQLError, parse, validate } from 'graphql'
import { WebSocket } from 'ws'
import type { Admit } from '../admit/admit.ts'
import type { Standing } from '../authentication/standing.ts'
import type { Answer } from '../federation/answers.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { StreamClient } from '../subscriptions/open.ts'
import type { SubscriptionPlan } from '../subscriptions/plan.ts'
import { createFaces, type FaceLimits } from './faces.ts'

const SCHEMA = buildSchema(`
  type Query { hello: String  slow: String  none: String }
  type Mutation { set: String }
  type Subscription { events(after: String): String  refused: String }
`)

/** The faces alone, on a real server, with streams, actors and answers that a test decides. */
export type FaceRig = AsyncDisposable & {
  readonly http: HttpServer
  readonly url: string
  readonly metrics: Metrics
  readonly logged: string[]
  /** Streams that are open, oldest first. */
  readonly streams: OpenStream[]
  readonly standings: TestStanding[]
  /** What `slow` waits for. */
  slow: PromiseWithResolvers<void>
  /** What an operation waits for before it is admitted; null: nothing. */
  admission: PromiseWithResolvers<void> | null
  /** What a credential waits for. */
  authentication: PromiseWithResolvers<void> | null
  executed: string[]
  /** Ends a stream from the owner's side. */
  end(stream: OpenStream | undefined, error?: DomainError): void
  /** Of all streams. */
  emit(n: number): void
  /** The sum of a metric over its labels. */
  value(name: string, label?: string): Promise<number>
  close(): Promise<void>
}

export type OpenStream = { readonly client: StreamClient; readonly after: unknown }

export type TestStanding = Standing & {
  readonly authorization: string | undefined
  readonly isClosed: boolean
  set(now: Actor | null | DomainError): void
}

export async function openFaceRig({
  limits = {},
  drainSeconds = 1,
  credentialsFor = () => () => NO_CREDENTIALS,
}: {
  credentialsFor?: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  limits?: FaceLimits
  drainSeconds?: number
} = {}): Promise<FaceRig> {
  const logged: string[] = []
  const destination = { write: (line: string) => void logged.push(line) }
  const log = createLog({ service: 'gateway', instance: 'gateway-1', level: 'debug', destination })
  const metrics = createMetrics({ service: 'gateway' })
  const streams: OpenStream[] = []
  const standings: TestStanding[] = []

  const faces = createFaces({
    standings: {
      async open({ authorization }) {
        await rig.authentication?.promise
        const standing = standingOf(authorization)
        standings.push(standing)
        return standing
      },
    },
    readDocument(source) {
      const document = parsed(source)
      const errors = validate(SCHEMA, document)
      if (errors.length > 0) throw new AggregateError(errors)
      return document
    },
    admit: (async () => {
      await rig.admission?.promise
      return 0
    }) satisfies Admit,
    planner: (_document, definition) => definition as unknown as SubscriptionPlan,
    executor: {
      async execute({ source }): Promise<Answer> {
        rig.executed.push(source)
        if (source.includes('none')) {
          return { dataText: undefined, errors: [new DomainError('BAD_INPUT', 'Not like this')] }
        }
        if (source.includes('slow')) await rig.slow.promise
        return { dataText: '{"hello":"there"}', errors: [] }
      },
    },
    openSubscription(plan, variables, _context, client) {
      if (JSON.stringify(plan).includes('refused')) throw new DomainError('FORBIDDEN', 'Not this')
      const stream: OpenStream = { client, after: variables.after }
      streams.push(stream)
      const leave = () => {
        const at = streams.indexOf(stream)
        if (at >= 0) streams.splice(at, 1)
      }
      const stop = client.standing.watch((now) => {
        if (!(now instanceof DomainError) || !streams.includes(stream)) return
        leave()
        client.end(now)
      })
      return {
        close() {
          stop()
          leave()
        },
      }
    },
    credentialsFor,
    allowedOrigins: ['https://app.test'],
    limits,
    log,
    metrics,
  })
  const http = await startHttp({
    host: '127.0.0.1',
    port: 0,
    log,
    metrics,
    drainSeconds,
    routes: faces.routes,
  })
  const closeFaces = faces.serve(http)
  const close = async () => void (await Promise.all([http.close(), closeFaces()]))
  const rig: FaceRig = {
    http,
    url: http.url,
    metrics,
    logged,
    streams,
    standings,
    slow: Promise.withResolvers<void>(),
    admission: null,
    authentication: null,
    executed: [],
    end(stream, error) {
      if (!stream) throw new TypeError('no such stream')
      const at = streams.indexOf(stream)
      if (at >= 0) streams.splice(at, 1)
      stream.client.end(error)
    },
    emit(n) {
      for (const { client } of [...streams]) client.next(`{"data":{"events":"${n}"}}`)
    },
    async value(name, label = '') {
      const text = await metrics.registry.metrics()
      const lines = text.split('\n').filter((it) => it.startsWith(`${name}{`) && it.includes(label))
      return lines.reduce((sum, it) => sum + Number(it.split(' ').at(-1)), 0)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
  return rig
}

const NO_CREDENTIALS = {} as Credentials

const REFUSED: Record<string, DomainError> = {
  'Bearer bad': new DomainError('UNAUTHENTICATED', 'The credential is not valid: sign in again'),
  'Bearer foreign': new DomainError('FORBIDDEN', 'You do not belong to this organization'),
  'Bearer away': new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now'),
}

function standingOf(authorization: string | undefined): TestStanding {
  const refusal = REFUSED[authorization ?? '']
  if (refusal) throw refusal
  const listeners = new Set<(now: Actor | null | DomainError) => void>()
  let now: Actor | null | DomainError = actorOf(authorization)
  let isClosed = false
  let settled = Promise.withResolvers<Actor>()
  return {
    authorization,
    get now() {
      return now
    },
    get isClosed() {
      return isClosed
    },
    async actor() {
      if (now instanceof DomainError) throw now
      return now ?? settled.promise
    },
    watch(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    set(next) {
      now = next
      if (next instanceof DomainError) settled.reject(next)
      else if (next) settled.resolve(next)
      settled.promise.catch(() => undefined)
      if (next !== null) settled = Promise.withResolvers<Actor>()
      for (const it of [...listeners]) it(next)
    },
    close() {
      isClosed = true
      listeners.clear()
    },
  }
}

/**
 * `Bearer <letter>`: a person of that letter, of the one organization; `Bearer <token>:<letter>` by
 * that token, `Bearer key:<letter>` a key, and `Bearer other:<letter>` in another organization.
 */
function actorOf(authorization: string | undefined): Actor {
  if (authorization === undefined) return createActor({ kind: 'anonymous', authority: 'PUBLIC' })
  const letter = authorization.at(-1) ?? 'a'
  const isOther = authorization.startsWith('Bearer other:')
  const organizationId = `org_01h455vb4pex5vsknk084sn02${isOther ? 'r' : 'q'}` as const
  if (authorization.startsWith('Bearer key:')) {
    return createActor({ kind: 'api-key', organizationId, credential: authorization })
  }
  return createActor({
    kind: 'person',
    subject: `usr_01h455vb4pex5vsknk084sn0${letter}q`,
    organizationId,
    credential: authorization,
    roles: ['member'],
  })
}

function parsed(source: string) {
  try {
    return parse(source)
  } catch (error) {
    throw error instanceof GraphQLError ? new AggregateError([error]) : error
  }
}

export type Message = { id?: string; type: string; payload?: unknown }

/** A WebSocket that sends what it is told, right or wrong. */
export type RawClient = {
  readonly socket: WebSocket
  readonly received: Message[]
  /** The code that it was closed with, and the reason. */
  readonly closed: Promise<{ code: number; reason: string }>
  readonly isClosed: boolean
  send(message: unknown): void
  /** The next message that was not yet taken. */
  next(): Promise<Message>
  init(payload?: Record<string, unknown>): Promise<void>
  subscribe(id: string, query: string, variables?: Record<string, unknown>): void
}

export async function rawClient(
  url: string,
  {
    protocol = 'graphql-transport-ws',
    headers = {},
  }: { protocol?: string | undefined; headers?: Record<string, string> } = {},
): Promise<RawClient> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, protocol, { headers })
  const received: Message[] = []
  let isClosed = false
  let taken = 0
  let wake: (() => void) | undefined
  socket.on('message', (data) => {
    received.push(JSON.parse(String(data)) as Message)
    wake?.()
  })
  socket.on('error', () => undefined)
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => {
      isClosed = true
      resolve({ code, reason: String(reason) })
      wake?.()
    })
  })
  await once(socket, 'open')
  const send = (message: unknown) =>
    socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  const next = async (): Promise<Message> => {
    for (;;) {
      const message = received[taken]
      if (message) {
        taken++
        return message
      }
      if (isClosed) throw new Error('closed')
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return {
    socket,
    received,
    closed,
    get isClosed() {
      return isClosed
    },
    send,
    next,
    async init(payload) {
      send({ type: 'connection_init', ...(payload ? { payload } : {}) })
      const { type } = await next()
      if (type !== 'connection_ack') throw new Error(`${type} instead of connection_ack`)
    },
    subscribe: (id, query, variables = {}) =>
      send({ id, type: 'subscribe', payload: { query, variables } }),
  }
}
