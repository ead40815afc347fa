import type { Actor } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import { codeOfErrors, operationCounter } from '@berth/platform/graphql-http'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { parseTraceparent } from '@berth/platform/trace'
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLFormattedError,
  type OperationDefinitionNode,
} from 'graphql'
import type { Admit } from '../admit/admit.ts'
import { operationOf } from '../admit/documents.ts'
import type { ReadDocument } from '../admit/reading.ts'
import type { Standing } from '../authentication/standing.ts'
import { type GatewayContext, newTraceparent } from '../context.ts'
import { extensionsOf, shownErrors, textOf } from '../federation/answer-text.ts'
import type { Answer } from '../federation/answers.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { Executor } from '../federation/executor.ts'
import type { OpenSubscription } from '../subscriptions/open.ts'
import type { Planner } from '../subscriptions/plan.ts'
import type { LiveOperation } from './live-operation.ts'

/** As a client sends it, its outer shape checked by the protocol. */
export type OperationRequest = {
  readonly query: string
  readonly operationName?: string | null | undefined
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined
  readonly extensions?: Readonly<Record<string, unknown>> | null | undefined
}

/** Who asks, over a connection that lasts. */
export type Caller = {
  readonly standing: Standing
  readonly clientIp: string
  /** What subgraphs are told of who asks. */
  readonly credentialsOf: (actor: Actor) => Credentials
}

/** One request, as errors and logs name it. */
export type RequestLog = Pick<GatewayContext, 'requestId' | 'log'>

/** An operation that may run. */
export type Prepared = {
  readonly document: DocumentNode
  readonly definition: OperationDefinitionNode
  /**
   * Runs it: its answers, and its end, go to the operation.
   *
   * @throws {DomainError|AggregateError} what the client got wrong, before anything is opened
   */
  start(operation: LiveOperation): void
}

export type Operations = {
  request(): RequestLog
  /**
   * Reads, validates and admits an operation, once it is out of doubt who asks.
   *
   * @throws {DomainError|AggregateError} why it may not run
   */
  prepare(request: OperationRequest, caller: Caller, of: RequestLog): Promise<Prepared>
  /** Errors as the client sees them: whatever was thrown, by the one translator. */
  shown(errors: readonly unknown[], of: RequestLog): GraphQLFormattedError[]
  /** Counts one that came to nothing. */
  refused(errors: readonly GraphQLFormattedError[]): void
}

/**
 * Runs operations of clients that stay connected, whichever protocol carries them. An operation
 * passes the same `admit` as one over HTTP.
 */
export function createOperations({
  readDocument,
  admit,
  planner,
  executor,
  openSubscription,
  log,
  metrics,
}: {
  readDocument: ReadDocument
  admit: Admit
  planner: Planner
  executor: Pick<Executor, 'execute'>
  openSubscription: OpenSubscription
  log: Log
  metrics: Metrics
}): Operations {
  const counted = operationCounter(metrics)

  return {
    request() {
      const requestId = newUuid()
      return { requestId, log: log.child({ requestId }) }
    },
    async prepare(request, caller, of) {
      const { query: source, operationName = null } = request
      const context = await contextOf(request, caller, of)
      const document = await readDocument(source, context)
      const definition = operationOf(document, operationName)
      const variables = request.variables ?? NO_VARIABLES
      const { idempotencyKey } = context
      const cost = await admit({ document, definition, variables, idempotencyKey }, context)

      if (definition.operation === 'subscription') {
        const plan = planner(document, definition, context)
        return {
          document,
          definition,
          start(operation) {
            operation.answeredBy(openSubscription(plan, variables, context, operation))
            counted.inc({ type: 'subscription', code: 'OK' })
          },
        }
      }
      const execution = { source, document, definition, operationName, variables, context }
      return {
        document,
        definition,
        start(operation) {
          executor.execute(execution).then(
            (answer) =>
              answerWith(answer, operation, { type: definition.operation, cost, of: context }),
            (error: unknown) => operation.end(error),
          )
        },
      }
    },
    shown: (errors, of) => shownErrors(errors.flatMap(causesOf), of),
    refused: (errors) => counted.inc({ type: 'none', code: codeOfErrors(errors) }),
  }

  function answerWith(
    answer: Answer,
    operation: LiveOperation,
    { type, cost, of }: { type: string; cost: number; of: GatewayContext },
  ): void {
    // Nothing was run: that is no answer, but a refusal.
    if (answer.dataText === undefined) {
      operation.end(new AggregateError(answer.errors))
      return
    }
    counted.inc({ type, code: codeOf(answer.errors[0]) })
    operation.next(textOf(answer, of, extensionsOf(cost, of)))
    operation.end()
  }
}

const NO_VARIABLES: Readonly<Record<string, unknown>> = Object.freeze({})

async function contextOf(
  { extensions }: OperationRequest,
  { standing, clientIp, credentialsOf }: Caller,
  { requestId, log }: RequestLog,
): Promise<GatewayContext> {
  const actor = await standing.actor()
  const { traceparent, idempotencyKey, cost } = extensions ?? {}
  return {
    actor,
    credentials: credentialsOf(actor),
    clientIp,
    requestId,
    log,
    traceparent: parseTraceparent(traceparent) ?? newTraceparent(),
    idempotencyKey: stringOf('idempotencyKey', idempotencyKey) ?? null,
    reportsCost: cost === true,
  }
}

/**
 * What is there is never passed over: its sender would be nobody, or act for another organization.
 *
 * @throws {DomainError} BAD_INPUT for what is there and is no text
 */
export function stringOf(field: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  throw new DomainError('BAD_INPUT', `\`${field}\` is a text`)
}

function codeOf(error: Error | undefined): string {
  if (!error) return 'OK'
  return error instanceof DomainError ? error.code : 'INTERNAL'
}

/** As it was thrown: what a protocol's library has wrapped, or several in one. */
function causesOf(error: unknown): unknown[] {
  if (error instanceof AggregateError) return error.errors.flatMap(causesOf)
  if (!(error instanceof GraphQLError) || error.path || !error.originalError) return [error]
  return error.originalError instanceof GraphQLError ? [error] : causesOf(error.originalError)
}
