import type { Standing } from '../authentication/standing.ts'
import type { GatewayContext } from '../context.ts'
import type { SubscriptionPlan } from './plan.ts'

/** Where one subscription's answers go. */
export type StreamClient = {
  readonly standing: Standing
  /**
   * One event's answer as JSON text, `{"data":…}`. Never throws; what the client cannot take is the
   * face's matter.
   */
  next(text: string): void
  /** Nothing more comes: all was told, or this is why. Called at most once, not after close(). */
  end(error?: unknown): void
  /**
   * Asked while a backlog is told: null when there is room for more, else what resolves once there
   * is. A backlog is told no faster than its client takes it; without this, as fast as it comes.
   */
  room?(): Promise<void> | null
}

/**
 * Opens an admitted subscription. The client may be told of events before this returns.
 *
 * @throws {DomainError|AggregateError} what the client got wrong, before anything is opened
 */
export type OpenSubscription = (
  plan: SubscriptionPlan,
  variables: Readonly<Record<string, unknown>>,
  context: GatewayContext,
  client: StreamClient,
) => { close(): void }
