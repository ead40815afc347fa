import type { Sql } from '@berth/platform/database'
import { idToUuid, timeOfUuid } from '@berth/platform/ids'
import type { AuditActor, AuditEvent } from '../model.ts'
import { ENTRY, type EntryRow, entryOf } from './audit-trail.ts'

export type AuditFilter = {
  readonly domain?: string | null | undefined
  /** How the action begins. */
  readonly action?: string | null | undefined
  /** Of a person or a credential. */
  readonly actor?: string | null | undefined
  readonly target?: string | null | undefined
  readonly from?: Date | null | undefined
  readonly to?: Date | null | undefined
}

/** Of an organization, or the platform, newest first. The time in an id is the event's. */
export async function listAuditEvents(
  sql: Sql,
  organizationId: string | null,
  filter: AuditFilter,
  { take, after }: { take: number; after: string | null },
): Promise<AuditEvent[]> {
  const values: unknown[] = [take]
  const given = (condition: string, ...of: unknown[]) =>
    of.some((it) => it === null || it === undefined)
      ? []
      : [of.reduce<string>((text, it) => text.replace('?', `$${values.push(it)}`), condition)]
  const last = after && idToUuid(after)
  const conditions = [
    ...(organizationId === null
      ? ['organization_id IS NULL']
      : given('organization_id = ?::uuid', idToUuid(organizationId))),
    ...given('domain = ?', filter.domain),
    ...given('starts_with(action, ?)', filter.action),
    ...given(`? IN (actor->>'sub', actor->>'cred')`, filter.actor),
    ...given('target = ?', filter.target),
    ...given('at >= ?::timestamptz', filter.from),
    ...given('at < ?::timestamptz', filter.to),
    ...(last ? given('(at, id) < (?::timestamptz, ?::uuid)', timeOfUuid(last), last) : []),
  ]
  const rows = await sql.query<EntryRow>(
    `SELECT ${ENTRY} FROM audit_trail WHERE ${conditions.join(' AND ')}
     ORDER BY at DESC, id DESC LIMIT $1::int`,
    values,
  )
  return rows.map((row) => ({ ...entryOf(row), occurredAt: row.at, by: row.actor as AuditActor }))
}

/** The domains in which something of a trail was done, and the position of the last. */
export async function domainsOf(
  sql: Sql,
  trail: string,
): Promise<{ domain: string; last: number }[]> {
  const rows = await sql.query<{ domain: string; position: bigint }>(
    'SELECT domain, position FROM audit_heads WHERE trail = $1 ORDER BY domain',
    [trail],
  )
  return rows.map(({ domain, position }) => ({ domain, last: Number(position) }))
}

/**
 * The positions between which all of a time lies, and others may; null when there is none. They arrive
 * in nearly, but not quite, the order of their times.
 */
export async function positionsWithin(
  sql: Sql,
  { domain, organizationId }: { domain: string; organizationId: string },
  { from, to }: Pick<AuditFilter, 'from' | 'to'>,
): Promise<{ first: number; last: number } | null> {
  const [row] = await sql.query<{ first: bigint | null; last: bigint | null }>(
    `SELECT min(trail_position) AS first, max(trail_position) AS last FROM audit_trail
     WHERE domain = $1 AND organization_id = $2::uuid
       AND at >= coalesce($3::timestamptz, '-infinity') AND at < coalesce($4::timestamptz, 'infinity')`,
    [domain, organizationId, from ?? null, to ?? null],
  )
  if (!row?.first || !row.last) return null
  return { first: Number(row.first), last: Number(row.last) }
}
