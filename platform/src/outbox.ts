import { z } from 'zod'
import { type Clock, systemClock } from './clock.ts'
import type { Envelope, EventContract } from './contract.ts'
import { newUuid } from './ids.ts'
import { currentRequest } from './request-scope.ts'
import type { Sql } from './sql.ts'

export type NewEvent<C extends EventContract> = {
  aggregateId: string
  /** The aggregate's own count of its events, raised under its row lock. */
  aggregateSeq: bigint | number
  /** Null for what belongs to the platform. */
  organizationId: string | null
  /** Decoded, as the contract's codecs give it. */
  data: z.output<C['data']>
  /** Id of the event or command that led to this one. */
  causationId?: string
  /** The request that is worked for, unless said. */
  correlationId?: string
  traceparent?: string
  occurredAt?: Date
}

/** An event at its place in the domain's stream. */
export type PositionedEvent = { readonly position: bigint; readonly envelope: Envelope }

/** What the bus refused would hold up every event after it. */
const MAX_EVENT_CHARACTERS = 64 * 1024

/** Postgres channel that wakes the relay of a schema. */
export function outboxNotification(schema: string): string {
  return `outbox_${schema}`
}

/**
 * Writes an event in the transaction of the change it tells of. The relay gives it its position and
 * publishes it.
 *
 * @returns its id
 * @throws {z.ZodError} when the data breaks the contract: a bug
 * @throws {RangeError} when the event exceeds 64 KiB
 */
export async function appendEvent<C extends EventContract>(
  sql: Sql,
  contract: C,
  event: NewEvent<C>,
  clock: Clock = systemClock,
): Promise<string> {
  const envelope: Envelope = {
    id: newUuid(),
    type: contract.type,
    version: contract.version,
    aggregate: contract.aggregate,
    aggregateId: event.aggregateId,
    aggregateSeq: Number(event.aggregateSeq),
    organizationId: event.organizationId,
    occurredAt: (event.occurredAt ?? clock.now()).toISOString(),
    causationId: event.causationId ?? null,
    correlationId: event.correlationId ?? currentRequest()?.requestId ?? null,
    traceparent: event.traceparent ?? null,
    data: z.encode(contract.data, event.data) as Record<string, unknown>,
  }
  const text = JSON.stringify(envelope)
  if (text.length > MAX_EVENT_CHARACTERS) {
    throw new RangeError(`${contract.subject}: an event of ${text.length} characters`)
  }
  await sql.query(
    `WITH appended AS (
       INSERT INTO outbox (id, subject, envelope, aggregate, aggregate_id, aggregate_seq, organization_id)
       VALUES ($1::uuid, $2, $3::jsonb, $4, $5::uuid, $6::bigint, $7::uuid)
     )
     SELECT pg_notify('outbox_' || current_schema(), '')`,
    [
      envelope.id,
      contract.subject,
      text,
      envelope.aggregate,
      envelope.aggregateId,
      envelope.aggregateSeq,
      envelope.organizationId,
    ],
  )
  return envelope.id
}

/**
 * The events after a position, in order: those of an organization, of one aggregate, or all. An
 * event without a position is not there yet.
 */
export async function readEventsAfter(
  sql: Sql,
  filter: {
    after: bigint
    limit: number
    organizationId?: string
    aggregate?: string
    aggregateId?: string
  },
): Promise<PositionedEvent[]> {
  const values: unknown[] = [filter.after, filter.limit]
  const conditions = [
    ['organization_id', 'uuid', filter.organizationId],
    ['aggregate', 'text', filter.aggregate],
    ['aggregate_id', 'uuid', filter.aggregateId],
  ].flatMap(([column, type, value]) =>
    value === undefined ? [] : [`AND ${column} = $${values.push(value)}::${type}`],
  )
  const rows = await sql.query<{ stream_seq: bigint; envelope: Envelope }>(
    `SELECT stream_seq, envelope FROM outbox
     WHERE stream_seq > $1::bigint ${conditions.join(' ')}
     ORDER BY stream_seq LIMIT $2::int`,
    values,
  )
  return rows.map(({ stream_seq, envelope }) => ({ position: stream_seq, envelope }))
}

/** Position of the last event; 0 before the first. */
export async function latestPosition(sql: Sql): Promise<bigint> {
  const [row] = await sql.query<{ last_seq: bigint }>(
    'SELECT last_seq FROM stream_positions WHERE stream = current_schema()',
  )
  return row?.last_seq ?? 0n
}

/**
 * Position of the first event that is still kept; that of the next one when none is. A reader after
 * `position` has missed something when `position < oldestPosition - 1n`.
 */
export async function oldestPosition(sql: Sql): Promise<bigint> {
  const [row] = await sql.query<{ oldest: bigint | null }>(
    `SELECT coalesce(
       (SELECT min(stream_seq) FROM outbox),
       (SELECT last_seq + 1 FROM stream_positions WHERE stream = current_schema())
     ) AS oldest`,
  )
  return row?.oldest ?? 1n
}
