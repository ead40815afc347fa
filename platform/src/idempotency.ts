import { createHash } from 'node:crypto'
import { type Actor, subjectOf } from './actor.ts'
import { DomainError } from './errors.ts'
import type { Sql } from './sql.ts'

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json }

export type IdempotentCall = {
  /** Whose keys: `clientScope` or `command:<calling service>`. */
  scope: string
  key: string
  operation: string
  /** Of `requestHash`. */
  requestHash: string
  /** How long the key is remembered. */
  ttlHours?: number
}

/** Who asks a mutation, and the `Idempotency-Key` as the client sent it. */
export type Keyed = { readonly actor: Actor; readonly idempotencyKey: string | null }

/**
 * A use case: runs the effect of a mutation, and under a key once.
 *
 * @param sql of the effect's transaction
 * @param input what the client asked for: under the same key it must be the same
 * @param effect returns what may be stored and told again, which no secret may be
 * @throws {DomainError} BAD_INPUT when the key is none, otherwise as `withIdempotency`
 */
export async function idempotent<T extends Json>(
  sql: Sql,
  { actor, idempotencyKey }: Keyed,
  operation: string,
  input: unknown,
  effect: () => Promise<T>,
): Promise<T> {
  if (idempotencyKey === null) return effect()
  const key = parseIdempotencyKey(idempotencyKey)
  const call = { scope: clientScope(actor), key, operation, requestHash: requestHash(input) }
  return withIdempotency(sql, call, effect)
}

/**
 * For a mutation that cannot be told again: a key that was ignored would promise what is not kept.
 *
 * @param why ends the sentence "takes no Idempotency-Key: "
 * @throws {DomainError} BAD_INPUT when a key was sent
 */
export function refuseIdempotencyKey(
  { idempotencyKey }: Pick<Keyed, 'idempotencyKey'>,
  operation: string,
  why: string,
): void {
  if (idempotencyKey === null) return
  throw new DomainError('BAD_INPUT', `${operation} takes no Idempotency-Key: ${why}`)
}

/**
 * Whose keys a client's are: those of one person in one organization, so that no two people meet in
 * a key. Keys of an organization that stand for no person share theirs.
 *
 * @throws {DomainError} UNAUTHENTICATED, FORBIDDEN for who is neither a person nor in an organization
 */
export function clientScope(actor: Actor): string {
  const { organizationId } = actor
  if (organizationId === null) return `client:-:${actor.subject}`
  return `client:${organizationId}:${subjectOf(actor) ?? '-'}`
}

/**
 * Runs an effect once per key, in the effect's own transaction: what it writes and that it ran
 * commit together, and an effect that fails leaves its key free.
 *
 * @param sql of that transaction
 * @param effect its result is stored, and given to every repetition: choose its fields with care
 * @throws {DomainError} IDEMPOTENCY_MISMATCH when the key was used for another request,
 *   IDEMPOTENCY_IN_FLIGHT when the first one still runs
 */
export async function withIdempotency<T extends Json>(
  sql: Sql,
  call: IdempotentCall,
  effect: () => Promise<T>,
): Promise<T> {
  const { scope, key, operation, requestHash, ttlHours = 24 } = call
  await lockKey(sql, scope, key)
  // Another statement than the lock's: its snapshot must be younger than the lock.
  const [earlier] = await sql.query<Stored<T>>(
    `SELECT operation, request_hash, response, expires_at <= now() AS is_expired
     FROM idempotency_keys WHERE scope = $1 AND key = $2`,
    [scope, key],
  )
  if (earlier && !earlier.is_expired) return replay(earlier, call)
  if (earlier) {
    await sql.query('DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2', [scope, key])
  }
  const response = await effect()
  await sql.query(
    `INSERT INTO idempotency_keys (scope, key, operation, request_hash, response, expires_at)
     VALUES ($1, $2, $3, $4, $5::jsonb, now() + make_interval(hours => $6::int))`,
    [scope, key, operation, requestHash, JSON.stringify(response), ttlHours],
  )
  return response
}

/**
 * Held until the transaction ends, however it ends. Asked for without waiting, so that a repetition
 * is told at once that the first call still runs.
 */
async function lockKey(sql: Sql, scope: string, key: string): Promise<void> {
  const [row] = await sql.query<{ is_mine: boolean }>(
    `SELECT pg_try_advisory_xact_lock(
       hashtextextended(concat_ws(E'\\x1f', current_schema(), $1::text, $2::text), 0)
     ) AS is_mine`,
    [scope, key],
  )
  if (row?.is_mine) return
  throw new DomainError(
    'IDEMPOTENCY_IN_FLIGHT',
    'The first request with this idempotency key still runs: repeat it in a moment',
    { retryAfterSeconds: 1 },
  )
}

function replay<T extends Json>(earlier: Stored<T>, call: IdempotentCall): T {
  if (earlier.operation === call.operation && earlier.request_hash === call.requestHash) {
    return earlier.response
  }
  throw new DomainError(
    'IDEMPOTENCY_MISMATCH',
    'This idempotency key was used for another request: use a new key',
  )
}

/**
 * SHA-256 of a value as canonical JSON: fields sorted, undefined ones left out, bigints and dates as
 * their text.
 */
export function requestHash(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}

/**
 * The key of an `Idempotency-Key` header, bare or as the quoted string of the IETF draft.
 *
 * @throws {DomainError} BAD_INPUT unless it is 1–255 printable ASCII characters
 */
export function parseIdempotencyKey(header: string): string {
  const text = header.trim()
  const isQuoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"')
  // RFC 9651, section 3.3.3: within quotes only quote and backslash are escaped.
  const isWellFormed = isQuoted ? /^"(?:[^"\\]|\\["\\])*"$/.test(text) : !text.startsWith('"')
  const key = isQuoted ? text.slice(1, -1).replace(/\\(["\\])/g, '$1') : text
  if (isWellFormed && /^[\x20-\x7e]{1,255}$/.test(key)) return key
  throw new DomainError(
    'BAD_INPUT',
    'Idempotency-Key must be 1 to 255 printable ASCII characters, for example a UUID',
  )
}

type Stored<T> = { operation: string; request_hash: string; response: T; is_expired: boolean }

function canonicalJson(value: unknown): string {
  if (typeof value === 'bigint') return JSON.stringify(String(value))
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  if (value instanceof Date) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`)
  return `{${fields.join(',')}}`
}
