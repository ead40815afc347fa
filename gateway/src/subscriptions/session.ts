import type { Actor } from '@berth/platform/actor'
import { DomainError, toGraphQLError } from '@berth/platform/errors'
import { codeOfErrors, operationCounter } from '@berth/platform/graphql-http'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { parseTraceparent } from '@berth/platform/trace'
import {
  type ExecutionArgs,
  type ExecutionResult,
  GraphQLError,
  type GraphQLFormattedError,
  type GraphQLSchema,
} from 'graphql'
import { makeServer, type Server, type SubscribePayload } from 'graphql-ws'
import type { Admit } from '../admit/admit.ts'
import { type Documents, operationOf } from '../admit/documents.ts'
import type { Authenticate, Authenticated, Presented } from '../authentication/authenticate.ts'
import { type GatewayContext, newTraceparent } from '../context.ts'
import { withKnownErrors } from '../federation/answers.ts'
import type { Executor } from '../federation/executor.ts'
import type { OpenSubscription } from './open.ts'
import type { Planner } from './plan.ts'
import { UpstreamErrors } from './stream.ts'

/** What a session is told of its connection by the transport that carries it. */
export type Connection = {
  readonly clientIp: string
  /** Headers of the request that opened it. */
  readonly authorization: string | undefined
  readonly organizationId: string | undefined
  /** Ends the connection, by a code of the closed list. */
  close(error: DomainError): void
}

export type SessionServer = Server<Session>

type Session = Connection & {
  /** Who asks, as of now: roles are taken away from one who is connected, too. */
  actor?: () => Promise<Actor>
  expiry?: NodeJS.Timeout
  isClosed?: boolean
}

/** Operations open at once on one connection. */
const MAX_OPEN = 100
const INIT_WAIT_MS = 10_000
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * The graphql-transport-ws protocol of clients, whatever carries it. An operation passes the same
 * `admit` as one over HTTP, and who asks is found out for each, of the credential that the
 * connection was opened with.
 */
export function createSessions({
  authenticate,
  documents,
  admit,
  planner,
  executor,
  openSubscription,
  schema,
  log,
  metrics,
}: {
  authenticate: Authenticate
  documents: Documents
  admit: Admit
  planner: Planner
  executor: Executor
  openSubscription: OpenSubscription
  schema: GraphQLSchema
  log: Log
  metrics: Metrics
}): SessionServer {
  const operations = operationCounter(metrics)
  const requests = new WeakMap<SubscribePayload, Pick<GatewayContext, 'requestId' | 'log'>>()

  return makeServer<Record<string, unknown>, Session>({
    connectionInitWaitTimeout: INIT_WAIT_MS,
    onConnect: async ({ connectionParams = {}, extra }) => {
      const { authorization, organizationId } = connectionParams
      const presented = {
        clientIp: extra.clientIp,
        authorization: textOf('authorization', authorization) ?? extra.authorization,
        organizationId: textOf('organizationId', organizationId) ?? extra.organizationId,
      }
      const authenticated = await authenticate(presented, log)
      const settled = settledBy(presented, authenticated)
      extra.actor = async () => (await authenticate(settled, log)).actor
      endWithCredential(extra, authenticated)
    },
    onClose: ({ extra }) => {
      extra.isClosed = true
      clearTimeout(extra.expiry)
    },

    onSubscribe: async ({ extra, subscriptions }, _id, payload) => {
      const requestId = newUuid()
      const request = { requestId, log: log.child({ requestId }) }
      requests.set(payload, request)
      try {
        if (Object.keys(subscriptions).length > MAX_OPEN) {
          throw new DomainError(
            'TOO_COMPLEX',
            `A connection has at most ${MAX_OPEN} operations open`,
          )
        }
        return await prepare(extra, payload, await contextOf(extra, payload, request))
      } catch (error) {
        return [new GraphQLError('refused', { originalError: asError(error) })]
      }
    },
    // What to run was settled when the operation was admitted.
    execute: ({ contextValue }) => (contextValue as Prepared).run() as Promise<ExecutionResult>,
    subscribe: ({ contextValue }) => {
      operations.inc({ type: 'subscription', code: 'OK' })
      return (contextValue as Prepared).run() as AsyncIterableIterator<ExecutionResult>
    },
    onNext: (_context, _id, payload, _args, { data, errors }) =>
      errors ? { data: data ?? null, errors: shown(errors, payload) } : { data: data ?? null },
    onError: (_context, _id, payload, errors) => {
      const list = shown(errors, payload)
      operations.inc({ type: 'none', code: codeOfErrors(list) })
      return list
    },
  })

  async function prepare(
    session: Session,
    payload: SubscribePayload,
    context: GatewayContext,
  ): Promise<ExecutionArgs> {
    const { query: source, operationName = null, variables: given } = payload
    const variables = given ?? {}
    const document = documents.open(source)
    const definition = operationOf(document, operationName)
    const { idempotencyKey } = context
    await admit({ document, definition, variables, idempotencyKey }, context)
    const contextValue: Prepared = {
      run:
        definition.operation === 'subscription'
          ? openSubscription(planner(document, definition), variables, context, {
              actor: () => actorOf(session),
              onOverflow: () =>
                session.close(new DomainError('SLOW_CLIENT', 'The client does not keep up')),
            })
          : () => executor.execute({ source, document, operationName, variables, context }),
    }
    return { schema, document, operationName, contextValue }
  }

  async function contextOf(
    session: Session,
    payload: SubscribePayload,
    request: Pick<GatewayContext, 'requestId' | 'log'>,
  ): Promise<GatewayContext> {
    const { traceparent, idempotencyKey } = payload.extensions ?? {}
    return {
      ...request,
      actor: await actorOf(session),
      clientIp: session.clientIp,
      traceparent: parseTraceparent(traceparent) ?? newTraceparent(),
      idempotencyKey: textOf('idempotencyKey', idempotencyKey) ?? null,
    }
  }

  function shown(errors: readonly unknown[], payload: SubscribePayload): GraphQLFormattedError[] {
    const context = requests.get(payload) ?? { requestId: newUuid(), log }
    return errors.flatMap(causesOf).map((error) => toGraphQLError(error, context).toJSON())
  }
}

type Prepared = { run(): Promise<ExecutionResult> | AsyncIterableIterator<ExecutionResult> }

async function actorOf({ actor }: Session): Promise<Actor> {
  if (!actor) throw new TypeError('an operation came before its connection was admitted')
  return actor()
}

/** The same organization from then on, though the person may by now have another first one. */
function settledBy(presented: Presented, { actor }: Authenticated): Presented {
  if (presented.organizationId !== undefined || actor.organizationId === null) return presented
  return { ...presented, organizationId: actor.organizationId }
}

/** A connection lives no longer than the credential that opened it. */
function endWithCredential(session: Session, { expiresAt }: Authenticated): void {
  // It may have gone while it was being authenticated: then a timer would only keep it.
  if (!expiresAt || session.isClosed) return
  const remainingMs = expiresAt.getTime() - Date.now()
  session.expiry = setTimeout(
    () => session.close(new DomainError('UNAUTHENTICATED', 'The credential has expired')),
    Math.min(Math.max(remainingMs, 0), MAX_TIMER_MS),
  )
}

/** What graphql-ws has wrapped, as it was thrown. */
function causesOf(error: unknown): unknown[] {
  if (error instanceof AggregateError) return error.errors.flatMap(causesOf)
  if (error instanceof UpstreamErrors)
    return [...(withKnownErrors('the owner', error).errors ?? [])]
  if (!(error instanceof GraphQLError) || error.path || !error.originalError) return [error]
  return error.originalError instanceof GraphQLError ? [error] : causesOf(error.originalError)
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/**
 * What is there is never passed over: its sender would be nobody, or act for another organization.
 *
 * @throws {DomainError} BAD_INPUT for what is there and is no text
 */
function textOf(field: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  throw new DomainError('BAD_INPUT', `\`${field}\` is a text`)
}
