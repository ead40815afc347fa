import { type Actor, narrow } from '@berth/platform/actor'
import { ACTOR_EXTENSION, type AssertionSigner } from '@berth/platform/assertion'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import type { ExecutionResult } from 'graphql'
import { decodeJwt } from 'jose'
import type { GatewayContext } from '../context.ts'
import type { Executor } from '../federation/executor.ts'
import type { SubscriptionPlan } from './plan.ts'
import { openStream, type StreamOptions } from './stream.ts'
import type { Upstreams } from './upstreams.ts'

export type OpenSubscription = (
  plan: SubscriptionPlan,
  variables: Readonly<Record<string, unknown>>,
  context: GatewayContext,
  client: StreamClient,
) => () => AsyncIterableIterator<ExecutionResult, undefined>

export type StreamClient = {
  /** Who it is as of now. @throws {DomainError} when they are nobody, or it cannot be found out */
  actor(): Promise<Actor>
  /** It does not keep up. */
  onOverflow(): void
}

export type StreamLimits = Pick<StreamOptions, 'backoff' | 'hydrateWithinMs' | 'maxQueued'>

/**
 * Opens an admitted subscription, in two steps: what the client got wrong is thrown by the first,
 * the second starts the stream. The owner and those who hydrate its events see the actor narrowed
 * to the operation's authority, so that what they answer is what everyone of that authority may see.
 */
export function createOpenSubscription({
  upstreams,
  executor,
  signer,
  limits = {},
}: {
  upstreams: Upstreams
  executor: Executor
  signer: AssertionSigner
  limits?: StreamLimits
}): OpenSubscription {
  return (plan, variables, context, client) => {
    const { node, service, durable, document } = plan
    const { operation: query, operationName } = node.primary
    const bound = plan.bind(variables)
    let shared: GatewayContext = { ...context, actor: narrow(context.actor, plan.authority) }
    let isOpened = false

    const options: StreamOptions = {
      ...limits,
      durable,
      after: bound.after,
      async authorize() {
        // The first time it was found out for the operation itself.
        const actor = isOpened ? await client.actor() : context.actor
        isOpened = true
        shared = { ...context, actor: narrow(actor, plan.authority) }
        const assertion = await signer.sign(shared.actor, service)
        return {
          renewInMs: renewalOf(assertion),
          subscribe: (after, sink) => {
            const extensions = {
              [ACTOR_EXTENSION]: assertion,
              requestId: context.requestId,
              traceparent: context.traceparent,
              ...(durable && after === null ? { [START_EXTENSION]: true } : {}),
            }
            const position = durable && after !== null ? { [durable.afterVariable]: after } : {}
            const payload = { query, variables: { ...bound.variables, ...position }, extensions }
            const named = operationName ? { ...payload, operationName } : payload
            return upstreams.subscribe(service, named, sink)
          },
        }
      },
      hydrate: (event) =>
        executor.hydrate(event as Parameters<Executor['hydrate']>[0], {
          node,
          document,
          variables,
          context: shared,
        }),
      onOverflow: client.onOverflow,
      log: context.log,
    }
    return () => openStream(options)
  }
}

/** Whatever a clock says, an owner is not asked again at once. */
const MIN_REMAINING_MS = 1_000

/**
 * When 60–80 % of what remains is over: early enough to try several times, late enough for the
 * signer to give a new one, and not for all streams at the same moment.
 */
function renewalOf(assertion: string): number {
  const { exp = 0 } = decodeJwt(assertion)
  const remainingMs = Math.max(MIN_REMAINING_MS, exp * 1000 - Date.now())
  return remainingMs * (0.6 + 0.2 * Math.random())
}
