import type { Sql } from '@berth/platform/database'
import type { Encrypted } from '@berth/platform/envelope'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { Session, SessionEnd, SessionKey } from '../model.ts'

export type NewSession = SessionKey & {
  readonly id: Id<'ses'>
  readonly userId: Id<'usr'>
  readonly tokenHash: Buffer
  readonly issuerSession: string | null
  readonly refreshToken: Encrypted<string> | null
  readonly refreshSeconds: number
  readonly idleSeconds: number
  readonly lifetimeSeconds: number
  readonly userAgent: string | null
  readonly clientIp: string | null
}

/** What a live session says of itself; times as seconds from now, by the database's clock. */
export type LiveSession = SessionKey & {
  readonly id: Id<'ses'>
  readonly expiresIn: number
  readonly idleIn: number
  /** Null where there is nothing to refresh it by; not positive when it is due. */
  readonly refreshIn: number | null
}

/** Whose they are, or which: the narrowest that is given. */
export type SessionsToEnd =
  | { readonly id: Id<'ses'>; readonly userId?: Id<'usr'> }
  | { readonly tokenHash: Buffer }
  | (Pick<SessionKey, 'issuer'> & {
      readonly subject: string | null
      readonly issuerSession: string | null
      readonly createdBefore: Date
    })

export type EndedSession = { readonly id: Id<'ses'>; readonly userId: Id<'usr'> }

/** The person that an identity is, who stays as they are until the transaction ends. */
export async function personOf(
  sql: Sql,
  { issuer, subject }: SessionKey,
): Promise<{ userId: Id<'usr'>; isSuspended: boolean } | null> {
  const [row] = await sql.query<{ user_id: string; is_suspended: boolean }>(
    `SELECT l.user_id, u.suspended_at IS NOT NULL AS is_suspended
     FROM identity_links l JOIN users u ON u.id = l.user_id
     WHERE l.issuer = $1 AND l.subject = $2 FOR SHARE OF u`,
    [issuer, subject],
  )
  return row ? { userId: uuidToId('usr', row.user_id), isSuspended: row.is_suspended } : null
}

/** @returns whether it was new */
export async function addSession(sql: Sql, session: NewSession): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO sessions (id, user_id, issuer, subject, issuer_session, token_hash, refresh_token_enc,
       refresh_at, idle_seconds, expires_at, user_agent, client_ip)
     VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6::bytea, $7,
       CASE WHEN $7::text IS NULL THEN NULL ELSE now() + make_interval(secs => $8::int) END,
       $9::int, now() + make_interval(secs => $10::int), $11, $12)
     ON CONFLICT (id) DO NOTHING RETURNING 1`,
    [
      idToUuid(session.id),
      idToUuid(session.userId),
      session.issuer,
      session.subject,
      session.issuerSession,
      session.tokenHash,
      session.refreshToken,
      session.refreshSeconds,
      session.idleSeconds,
      session.lifetimeSeconds,
      session.userAgent,
      session.clientIp,
    ],
  )
  return rows.length === 1
}

export async function liveSession(sql: Sql, tokenHash: Buffer): Promise<LiveSession | null> {
  const [row] = await sql.query<{
    id: string
    issuer: string
    subject: string
    expires_in: number
    idle_in: number
    refresh_in: number | null
  }>(
    `SELECT id, issuer, subject,
       extract(epoch FROM expires_at - now())::float AS expires_in,
       extract(epoch FROM last_used_at - now())::float + idle_seconds AS idle_in,
       extract(epoch FROM refresh_at - now())::float AS refresh_in
     FROM sessions s WHERE token_hash = $1::bytea AND is_live(s)`,
    [tokenHash],
  )
  if (!row) return null
  const { issuer, subject } = row
  return {
    id: uuidToId('ses', row.id),
    issuer,
    subject,
    expiresIn: row.expires_in,
    idleIn: row.idle_in,
    refreshIn: row.refresh_in,
  }
}

/** Whether it is the person's and nobody has ended it; that it ran out is not asked. */
export async function isUnrevoked(sql: Sql, id: Id<'ses'>, userId: Id<'usr'>): Promise<boolean> {
  const rows = await sql.query(
    `SELECT 1 FROM sessions WHERE id = $1::uuid AND user_id = $2::uuid
       AND (ended_at IS NULL OR end_reason = 'EXPIRED')`,
    [idToUuid(id), idToUuid(userId)],
  )
  return rows.length === 1
}

/** @returns whether it is still live */
export async function touchSession(sql: Sql, id: Id<'ses'>): Promise<boolean> {
  const rows = await sql.query(
    'UPDATE sessions s SET last_used_at = now() WHERE id = $1::uuid AND is_live(s) RETURNING 1',
    [idToUuid(id)],
  )
  return rows.length === 1
}

/** Ends what has not ended, and takes its secrets. */
export async function endSessions(
  sql: Sql,
  which: SessionsToEnd,
  reason: SessionEnd,
): Promise<EndedSession[]> {
  const [condition, values] = conditionOf(which)
  const rows = await sql.query<{ id: string; user_id: string }>(
    `UPDATE sessions SET ended_at = now(), end_reason = $1, refresh_token_enc = NULL, refresh_at = NULL
     WHERE ended_at IS NULL AND ${condition} RETURNING id, user_id`,
    [reason, ...values],
  )
  return rows.map((row) => ({ id: uuidToId('ses', row.id), userId: uuidToId('usr', row.user_id) }))
}

/** Of one person's live sessions, all but the ones used last. */
export async function sessionsBeyond(
  sql: Sql,
  userId: Id<'usr'>,
  limit: number,
): Promise<Id<'ses'>[]> {
  const rows = await sql.query<{ id: string }>(
    `SELECT id FROM sessions s WHERE user_id = $1::uuid AND is_live(s)
     ORDER BY last_used_at DESC, id DESC OFFSET $2::int`,
    [idToUuid(userId), limit],
  )
  return rows.map(({ id }) => uuidToId('ses', id))
}

/** Used last first. */
export async function sessionsOf(sql: Sql, userId: Id<'usr'>): Promise<Session[]> {
  const rows = await sql.query<{
    id: string
    created_at: Date
    last_used_at: Date
    expires_at: Date
    user_agent: string | null
    client_ip: string | null
  }>(
    `SELECT id, created_at, last_used_at, expires_at, user_agent, client_ip FROM sessions s
     WHERE user_id = $1::uuid AND is_live(s) ORDER BY last_used_at DESC, id DESC`,
    [idToUuid(userId)],
  )
  return rows.map((row) => ({
    id: uuidToId('ses', row.id),
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
    userAgent: row.user_agent,
    clientAddress: row.client_ip,
  }))
}

/**
 * Gives the refresh token to one of those who ask, for as long as the lease: until then it is due for
 * nobody else.
 *
 * @returns null when it is not due, or somebody else has it
 */
export async function leaseRefresh(
  sql: Sql,
  { id, lease, leaseSeconds }: { id: Id<'ses'>; lease: string; leaseSeconds: number },
): Promise<string | null> {
  const [row] = await sql.query<{ refresh_token_enc: string }>(
    `UPDATE sessions s SET refresh_lease = $2::uuid, refresh_at = now() + make_interval(secs => $3::int)
     WHERE id = $1::uuid AND is_live(s) AND refresh_token_enc IS NOT NULL
       AND (refresh_at <= now() OR refresh_lease = $2::uuid)
     RETURNING refresh_token_enc`,
    [idToUuid(id), lease, leaseSeconds],
  )
  return row?.refresh_token_enc ?? null
}

/** @returns false when the lease was another's by then, or the session has ended */
export async function storeRefreshed(
  sql: Sql,
  given: {
    id: Id<'ses'>
    lease: string
    refreshToken: Encrypted<string> | null
    refreshSeconds: number
  },
): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE sessions s SET refresh_token_enc = coalesce($3, refresh_token_enc), refresh_lease = NULL,
       refresh_at = now() + make_interval(secs => $4::int)
     WHERE id = $1::uuid AND refresh_lease = $2::uuid AND ended_at IS NULL RETURNING 1`,
    [idToUuid(given.id), given.lease, given.refreshToken, given.refreshSeconds],
  )
  return rows.length === 1
}

function conditionOf(which: SessionsToEnd): [string, unknown[]] {
  if ('id' in which) {
    const userId = which.userId ? idToUuid(which.userId) : null
    return ['id = $2::uuid AND user_id = coalesce($3::uuid, user_id)', [idToUuid(which.id), userId]]
  }
  if ('tokenHash' in which) return ['token_hash = $2::bytea', [which.tokenHash]]
  const { issuer, subject, issuerSession, createdBefore } = which
  return [
    // Of one that the issuer never named, the person alone tells.
    `issuer = $2 AND subject = coalesce($3, subject) AND created_at <= $5::timestamptz
     AND ($4::text IS NULL OR issuer_session = $4 OR (issuer_session IS NULL AND $3::text IS NOT NULL))`,
    [issuer, subject, issuerSession, createdBefore],
  ]
}
