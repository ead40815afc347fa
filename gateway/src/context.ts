import type { Actor } from '@berth/platform/actor'
import type { Log } from '@berth/platform/log'
import { randomHex } from '@berth/platform/random'
import type { Credentials } from './federation/credentials.ts'

/** What an operation carries through the gateway, by whichever face it came in. */
export type GatewayContext = {
  readonly actor: Actor
  /** The same, as subgraphs are told of it. */
  readonly credentials: Credentials
  readonly clientIp: string
  readonly requestId: string
  /** W3C trace context, passed on to the subgraphs. */
  readonly traceparent: string
  /** As the client sent it; the subgraph that stores it reads it. */
  readonly idempotencyKey: string | null
  /** Whether the answer is to say what it cost: a client asks for it by `berth-cost`. */
  readonly reportsCost?: boolean
  /** Carries the request id. */
  readonly log: Log
}

/** A trace that begins here, not sampled (W3C Trace Context, section 3.2). */
export function newTraceparent(): string {
  return `00-${randomHex(16)}-${randomHex(8)}-00`
}
