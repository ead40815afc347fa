import type { Actor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { type ExecutionArgs, GraphQLError } from 'graphql'
import { type Context, makeServer, type Server, type SubscribePayload } from 'graphql-ws'
import type { Presented } from '../authentication/authenticate.ts'
import type { Standing, Standings } from '../authentication/standing.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { ClientQueue } from './client-queue.ts'
import type { Place } from './connections.ts'
import { type Envelope, LiveOperation } from './live-operation.ts'
import { OpenOperations } from './open-operations.ts'
import { type Operations, type Prepared, type RequestLog, stringOf } from './operations.ts'

/** What a session is told of its connection by the transport that carries it. */
export type Connection = Presented & {
  readonly queue: ClientQueue
  readonly place: Place
  /** What subgraphs are told of who asks. */
  readonly credentialsOf: (actor: Actor) => Credentials
  /** Ends the connection, by a code of the closed list. */
  close(error: DomainError): void
}

export type SessionServer = Server<Session>

type Session = Connection & {
  standing?: Standing
  /** Ids of what is being admitted, with what was asked for by them. */
  preparing?: Map<string, SubscribePayload>
  open?: OpenOperations
  isClosed?: boolean
}

export type SessionLimits = {
  /** Operations open at once on one connection. */
  readonly operations: number
  /** From when a connection is open until its `connection_init` is here. */
  readonly initMs: number
}

export const SESSION_LIMITS: SessionLimits = Object.freeze({ operations: 100, initMs: 10_000 })

/** Sent back with each answer, so that a long one would make every answer long. */
export const MAX_ID_LENGTH = 256

/**
 * The graphql-transport-ws protocol of clients, whatever carries it. Who asks is found out once, and
 * watched from then on: a connection lives no longer than what it was opened with.
 */
export function createSessions({
  standings,
  operations,
  limits = SESSION_LIMITS,
  log,
  metrics,
}: {
  standings: Standings
  operations: Operations
  limits?: SessionLimits
  log: Log
  metrics: Metrics
}): SessionServer {
  const open = metrics.gauge('berth_client_operations', 'Operations open over WebSockets')
  const requests = new WeakMap<SubscribePayload, RequestLog>()
  const running = new WeakSet<SubscribePayload>()

  return makeServer<Record<string, unknown>, Session>({
    connectionInitWaitTimeout: limits.initMs,
    async onConnect({ connectionParams = {}, extra: session }) {
      const { authorization, organizationId } = connectionParams
      const standing = await standings.open(
        {
          ...presentedAtUpgrade(session),
          authorization: stringOf('authorization', authorization) ?? session.authorization,
          organizationId: stringOf('organizationId', organizationId) ?? session.organizationId,
        },
        log,
      )
      // It may have gone while it was being found out who it is.
      if (session.isClosed) return standing.close()
      session.standing = standing
      standing.watch((now) => {
        if (now instanceof DomainError) openOf(session).endAll(now, session.close)
      })
      session.place.take(await standing.actor())
    },
    onClose({ extra: session }) {
      session.isClosed = true
      session.standing?.close()
    },

    async onSubscribe(context, id, payload) {
      const request = operations.request()
      requests.set(payload, request)
      try {
        const prepared = await prepare(context, id, payload, request)
        return isStillWanted(context, id, payload)
          ? opened(context.extra, id, payload, prepared)
          : await never()
      } catch (error) {
        return isStillWanted(context, id, payload) ? refusal(error) : never()
      }
    },
    // What to run was settled when the operation was admitted, and it runs.
    execute: ({ contextValue }) => endingOf(contextValue) as never,
    subscribe: ({ contextValue }) => endingOf(contextValue),
    onError: (_context, _id, payload, errors) => {
      const list = operations.shown(errors, requests.get(payload) ?? operations.request())
      // One that was open was counted when it was opened.
      if (!running.has(payload)) operations.refused(list)
      return list
    },
  })

  async function prepare(
    { extra: session, subscriptions }: Context<Record<string, unknown>, Session>,
    id: string,
    payload: SubscribePayload,
    request: RequestLog,
  ): Promise<Prepared> {
    const { standing, clientIp, credentialsOf } = session
    if (!standing) throw new TypeError('an operation came before its connection was admitted')
    if (id.length > MAX_ID_LENGTH) {
      session.close(new DomainError('BAD_INPUT', `An id has at most ${MAX_ID_LENGTH} characters`))
      return never()
    }
    session.preparing ??= new Map()
    session.preparing.set(id, payload)
    // Completed before they are admitted, operations are no longer among the subscriptions.
    const count = Math.max(Object.keys(subscriptions).length, session.preparing.size)
    if (count > limits.operations) {
      throw new DomainError(
        'TOO_COMPLEX',
        `A connection has at most ${limits.operations} operations open: complete one`,
      )
    }
    return operations.prepare(payload, { standing, clientIp, credentialsOf }, request)
  }

  /** In one step with the question whether it is wanted, so that no message comes between. */
  function opened(
    session: Session,
    id: string,
    payload: SubscribePayload,
    { document, start }: Prepared,
  ): ExecutionArgs | GraphQLError[] {
    const { standing, queue } = session
    if (!standing) throw new TypeError('an operation came before its connection was admitted')
    const operation = openOf(session).add(standing, queue, envelopeOf(id))
    try {
      start(operation)
    } catch (error) {
      operation.letGo()
      return refusal(error)
    }
    running.add(payload)
    const { operationName = null } = payload
    return { document, operationName, contextValue: operation } as unknown as ExecutionArgs
  }

  function openOf(session: Session): OpenOperations {
    session.open ??= new OpenOperations(open)
    return session.open
  }
}

/**
 * Whether the client still waits for what was being admitted. It may have completed it meanwhile,
 * and have given its id to another one.
 */
function isStillWanted(
  { subscriptions, extra: { preparing, isClosed } }: Context<Record<string, unknown>, Session>,
  id: string,
  payload: SubscribePayload,
): boolean {
  if (preparing?.get(id) !== payload) return false
  preparing.delete(id)
  return !isClosed && id in subscriptions
}

/**
 * For what nobody waits for any more: graphql-ws would go on with the id, which may be another
 * operation's by now. Its call is left where it stands, as garbage.
 */
function never(): Promise<never> {
  return new Promise(() => undefined)
}

function envelopeOf(id: string): Envelope {
  return { before: `{"id":${JSON.stringify(id)},"type":"next","payload":`, after: '}' }
}

/** And no more of the session: what is presented is kept for as long as it is watched. */
function presentedAtUpgrade({ clientIp, face, cookie, origin }: Session) {
  return cookie === undefined ? { clientIp } : { clientIp, face, cookie, origin }
}

function endingOf(operation: unknown) {
  if (operation instanceof LiveOperation) return operation.ending
  throw new TypeError('what is to run was not prepared')
}

/** As graphql-ws takes it. */
function refusal(error: unknown): GraphQLError[] {
  return [new GraphQLError('refused', { originalError: asError(error) })]
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
