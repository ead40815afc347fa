import type { Clock } from '@berth/platform/clock'
import type { Cursors } from '@berth/platform/cursor'
import type { Database } from '@berth/platform/database'
import type { Keyed } from '@berth/platform/idempotency'
import type { OneTimeTokens } from '@berth/platform/one-time-token'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { Hints } from '@berth/platform/pubsub'
import type { PrismaClient } from '@berth/prisma/allocations'
import type { TerminalToken } from '@berth/schema/commands/allocations'
import type { Cause } from '../model.ts'
import type { AllocationStore } from '../store/allocations.ts'
import type { TerminalStore } from '../store/terminals.ts'
import type { GpuQuota } from './gpu-quota.ts'
import type { TerminalRate } from './terminal-rate.ts'

/** What the use cases work with; `app.ts` makes them. */
export type Ports = {
  readonly database: Database<PrismaClient>
  readonly allocations: AllocationStore
  readonly terminals: TerminalStore
  readonly cursors: Cursors
  readonly hints: Pick<Hints, 'subscribe'>
  readonly tokens: Pick<OneTimeTokens<TerminalToken>, 'mint'>
  readonly clock: Clock
  /** Tells the worker that something may be due. */
  readonly wake: () => void
  readonly terminalUrl: string
  readonly allowedOrigins: readonly string[]
  /** How long `create` waits for the reservation. */
  readonly reservationSeconds: number
  readonly policy: Pick<PolicyClient, 'decide'>
  readonly gpuQuota: GpuQuota
  readonly terminalRate: TerminalRate
}

/** Who asks, in which request and trace. */
export type Asked = Keyed & { readonly requestId: string; readonly traceparent: string | null }

/** The request as what led to a change. */
export function causeOf({ requestId, traceparent }: Asked): Cause {
  return { correlationId: requestId, causationId: null, traceparent }
}
