import { narrow } from '@berth/platform/actor'
import { ACTOR_EXTENSION, type AssertionSigner } from '@berth/platform/assertion'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import type { ExecutionResult } from 'graphql'
import type { GatewayContext } from '../context.ts'
import type { Executor } from '../federation/executor.ts'
import type { SubscriptionPlan } from './plan.ts'
import { type Backoff, openStream, type StreamOptions } from './stream.ts'
import type { Upstreams } from './upstreams.ts'

export type OpenSubscription = (
  plan: SubscriptionPlan,
  variables: Readonly<Record<string, unknown>>,
  context: GatewayContext,
  onOverflow: () => void,
) => () => AsyncIterableIterator<ExecutionResult, undefined>

/**
 * Opens an admitted subscription, in two steps: what the client got wrong is thrown by the first,
 * the second starts the stream. The owner and those who hydrate its events see the actor narrowed
 * to the operation's authority, so that what they answer is what everyone of that authority may see.
 */
export function createOpenSubscription({
  upstreams,
  executor,
  signer,
  backoff,
  maxQueued,
}: {
  upstreams: Upstreams
  executor: Executor
  signer: AssertionSigner
  backoff?: Backoff | undefined
  maxQueued?: number | undefined
}): OpenSubscription {
  return (plan, variables, context, onOverflow) => {
    const { node, service, durable, document } = plan
    const { operation: query, operationName } = node.primary
    const bound = plan.bind(variables)
    const shared: GatewayContext = { ...context, actor: narrow(context.actor, plan.authority) }

    const options: StreamOptions = {
      durable,
      after: bound.after,
      async subscribe(after, sink) {
        const extensions = {
          [ACTOR_EXTENSION]: await signer.sign(shared.actor, service),
          requestId: context.requestId,
          traceparent: context.traceparent,
          ...(durable && after === null ? { [START_EXTENSION]: true } : {}),
        }
        const position = durable && after !== null ? { [durable.afterVariable]: after } : {}
        const payload = { query, variables: { ...bound.variables, ...position }, extensions }
        return upstreams.subscribe(
          service,
          operationName ? { ...payload, operationName } : payload,
          sink,
        )
      },
      hydrate: (event) =>
        executor.hydrate(event as Parameters<Executor['hydrate']>[0], {
          node,
          document,
          variables,
          context: shared,
        }),
      onOverflow,
      log: context.log,
      ...(backoff ? { backoff } : {}),
      ...(maxQueued ? { maxQueued } : {}),
    }
    return () => openStream(options)
  }
}
