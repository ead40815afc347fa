import { createHash } from 'node:crypto'
import { START_EXTENSION } from '@berth/platform/subscriptions'
import { print } from 'graphql'
import type { Credentials } from '../federation/credentials.ts'
import type { Executor } from '../federation/executor.ts'
import type { SubscriptionPlan } from './plan.ts'
import type { Authorized } from './source.ts'
import { IN_DOUBT } from './upstream-errors.ts'
import type { Upstreams } from './upstreams.ts'

/** A planned subscription with its variables. */
export type Operation = {
  readonly plan: SubscriptionPlan
  /** Of the graph that it was planned for. */
  readonly executor: Pick<Executor, 'hydrate'>
  /** As the client sent them. */
  readonly variables: Readonly<Record<string, unknown>>
  readonly upstreamVariables: Readonly<Record<string, unknown>>
  /** Where the client wants to start; null: with the next event. */
  readonly after: string | null
  /** Equal where the same is asked of the owner, but for who asks and from where on. */
  readonly sourceKey: string
  /** Equal where moreover the same is made of each event. */
  readonly groupKey: string
}

/** @throws {AggregateError} of GraphQLErrors when the client's variables do not fit */
export function operationOf(
  plan: SubscriptionPlan,
  executor: Pick<Executor, 'hydrate'>,
  variables: Readonly<Record<string, unknown>>,
): Operation {
  const { variables: upstreamVariables, after } = plan.bind(variables)
  const { service, authority, node, variableNames } = plan
  const sourceKey = JSON.stringify([service, authority, node.primary.operation, upstreamVariables])
  const used = variableNames.map((name) => variables[name])
  const groupKey = JSON.stringify([sourceKey, hashOf(plan), used])
  return { plan, executor, variables, upstreamVariables, after, sourceKey, groupKey }
}

const hashes = new WeakMap<SubscriptionPlan, string>()

function hashOf(plan: SubscriptionPlan): string {
  const known = hashes.get(plan)
  if (known) return known
  const hash = createHash('sha256').update(print(plan.document)).digest('base64url')
  hashes.set(plan, hash)
  return hash
}

/** What names a subscription in the owner's log. */
export type Trace = { readonly requestId: string; readonly traceparent: string }

/**
 * How an operation is subscribed to at its owner.
 *
 * @param vouch for whom; null when nobody who may ask waits for it
 */
export function authorizer(
  upstreams: Upstreams,
  { plan, upstreamVariables }: Operation,
  trace: Trace,
  vouch: () => Credentials | null,
): () => Promise<Authorized> {
  const { service, durable, node } = plan
  const { operation: query, operationName } = node.primary
  return async () => {
    // A source is opened before the one who vouches for it has joined it.
    await Promise.resolve()
    const credentials = vouch()
    if (!credentials) throw IN_DOUBT
    const carried = await credentials.subscription(service)
    return {
      renewInMs: carried.expiresAt && renewalOf(carried.expiresAt),
      subscribe: (after, sink) => {
        const isNew = durable !== null && after === null
        const extensions = {
          ...carried.extensions,
          ...trace,
          ...(isNew ? { [START_EXTENSION]: true } : {}),
        }
        const position = durable && after !== null ? { [durable.afterVariable]: after } : {}
        const payload = { query, variables: { ...upstreamVariables, ...position }, extensions }
        const named = operationName ? { ...payload, operationName } : payload
        return upstreams.subscribe(service, named, carried, sink)
      },
    }
  }
}

/** Whatever a clock says, an owner is not asked again at once. */
const MIN_REMAINING_MS = 1_000

/**
 * When 60–80 % of what remains is over: early enough to try several times, late enough for the
 * signer to give a new one, and not for all streams at the same moment.
 */
function renewalOf(expiresAt: Date): number {
  const remainingMs = Math.max(MIN_REMAINING_MS, expiresAt.getTime() - Date.now())
  return remainingMs * (0.6 + 0.2 * Math.random())
}
