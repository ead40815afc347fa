import type { Sql } from '@berth/platform/database'
import { idToUuid, uuidToId } from '@berth/platform/ids'
import { ensurePartitions } from '@berth/platform/partitions'
import {
  type AuditFields,
  BEGINNING,
  type Entry,
  type Head,
  type Link,
  WHOLE,
} from '../domain/audit-chain.ts'
import type { Checkpoint } from '../domain/audit-checkpoint.ts'
import type { Json } from '../domain/canonical-json.ts'

/** Trail of what belongs to no organization. */
export const PLATFORM_TRAIL = 'platform'

export function trailOf(organizationId: string | null): string {
  return organizationId === null ? PLATFORM_TRAIL : uuidToId('org', organizationId)
}

/** Until the transaction ends, nobody else appends to the domain's chain. @returns where it stands */
export async function lockChain(sql: Sql, domain: string): Promise<Head> {
  const read = () =>
    sql.query<HeadRow>(
      `SELECT trail, position, encode(hash, 'hex') AS hash FROM audit_heads
       WHERE domain = $1 AND trail = $2 FOR UPDATE`,
      [domain, WHOLE],
    )
  const [row] = await read()
  if (row) return headOf(row)
  // The domain's first: of two who meet here one makes the row, and the other waits for it.
  await sql.query(
    `INSERT INTO audit_heads (domain, trail, position, hash) VALUES ($1, $2, 0, '')
     ON CONFLICT DO NOTHING`,
    [domain, WHOLE],
  )
  const [made] = await read()
  return made ? headOf(made) : BEGINNING
}

/** Where these trails of a domain stand; those that have not begun are left out. */
export async function readHeads(
  sql: Sql,
  domain: string,
  trails: readonly string[] | null,
): Promise<Map<string, Head>> {
  const rows = await sql.query<HeadRow>(
    `SELECT trail, position, encode(hash, 'hex') AS hash FROM audit_heads
     WHERE domain = $1 AND ($2::text[] IS NULL OR trail = ANY ($2))`,
    [domain, trails],
  )
  return new Map(rows.map((row) => [row.trail, headOf(row)]))
}

/** Those of these ids that the domain's chain has. Their partition follows from the id. */
export async function knownIds(
  sql: Sql,
  domain: string,
  events: readonly Pick<AuditFields, 'id' | 'at'>[],
): Promise<Set<string>> {
  const rows = await sql.query<{ id: string }>(
    `SELECT t.id FROM unnest($2::uuid[], $3::timestamptz[]) AS e (id, at)
     JOIN audit_trail t ON t.domain = $1 AND t.id = e.id AND t.at = e.at`,
    [domain, events.map(({ id }) => id), events.map(({ at }) => at)],
  )
  return new Set(rows.map(({ id }) => id))
}

/** @param links of one domain, as `seal` made them under `lockChain` */
export async function appendLinks(
  sql: Sql,
  links: readonly Link[],
  heads: ReadonlyMap<string, Head>,
): Promise<void> {
  const [{ domain } = { domain: '' }] = links
  await ensurePast(sql, links)
  const rows = links.map(({ fields, trail, ...link }) => ({
    ...link,
    ...fields,
    organizationId: trail === PLATFORM_TRAIL ? null : idToUuid(trail),
  }))
  await sql.query(
    `INSERT INTO audit_trail (domain, position, hash, organization_id, trail_position, entry_hash, id,
       at, actor, action, target, reason, facts, before, after, request_id, origin)
     SELECT domain, position, decode(hash, 'hex'), "organizationId", "trailPosition",
       decode("entryHash", 'hex'), id, at, actor, action, target, reason, facts, before, after,
       "requestId", origin
     FROM jsonb_to_recordset($1::jsonb) AS r (domain text, position bigint, hash text,
       "organizationId" uuid, "trailPosition" bigint, "entryHash" text, id uuid, at timestamptz,
       actor jsonb, action text, target text, reason text, facts jsonb, before jsonb, after jsonb,
       "requestId" text, origin text)`,
    [JSON.stringify(rows)],
  )
  await sql.query(
    `INSERT INTO audit_heads (domain, trail, position, hash)
     SELECT $1, h.trail, h.position, decode(h.hash, 'hex')
     FROM jsonb_to_recordset($2::jsonb) AS h (trail text, position bigint, hash text)
     ON CONFLICT (domain, trail) DO UPDATE SET position = EXCLUDED.position, hash = EXCLUDED.hash`,
    [domain, JSON.stringify([...heads].map(([trail, head]) => ({ trail, ...head })))],
  )
}

/** What waited for long may belong to a month that has no partition yet. */
async function ensurePast(sql: Sql, links: readonly Link[]): Promise<void> {
  const [oldest] = links.map(({ fields }) => fields.at).sort()
  if (!oldest) return
  const now = new Date()
  const covered = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1))
  if (new Date(oldest) < covered) await ensurePartitions(sql, 0, new Date(oldest))
}

/** Of a domain's chain the links after a position, in order. */
export async function readLinks(
  sql: Sql,
  domain: string,
  after: number,
  limit: number,
): Promise<Link[]> {
  const rows = await sql.query<LinkRow>(
    `SELECT ${ENTRY}, position, encode(hash, 'hex') AS hash FROM audit_trail
     WHERE domain = $1 AND position > $2::bigint ORDER BY position LIMIT $3::int`,
    [domain, after, limit],
  )
  return rows.map((row) => ({ ...entryOf(row), position: Number(row.position), hash: row.hash }))
}

/** Of an organization's trail in a domain the entries after a position and up to another, in order. */
export async function readEntries(
  sql: Sql,
  { domain, organizationId }: { domain: string; organizationId: string },
  { after, upTo, limit }: { after: number; upTo: number; limit: number },
): Promise<Entry[]> {
  const rows = await sql.query<EntryRow>(
    `SELECT ${ENTRY} FROM audit_trail
     WHERE domain = $1 AND organization_id = $2::uuid
       AND trail_position > $3::bigint AND trail_position <= $4::bigint
     ORDER BY trail_position LIMIT $5::int`,
    [domain, organizationId, after, upTo, limit],
  )
  return rows.map(entryOf)
}

/** The latest checkpoint of the domain's chain and of each of its trails. */
export async function latestCheckpoints(
  sql: Sql,
  domain: string,
  trails: readonly string[] | null,
): Promise<SignedCheckpoint[]> {
  return (
    await sql.query<CheckpointRow>(
      // One by one: they are never deleted, and only the last of each is wanted.
      `SELECT c.trail, c.position, c.statement
       FROM unnest(coalesce($2::text[], ARRAY (
         SELECT DISTINCT trail FROM audit_checkpoints WHERE domain = $1
       ))) AS t (trail)
       CROSS JOIN LATERAL (
         SELECT trail, position, statement FROM audit_checkpoints
         WHERE domain = $1 AND trail = t.trail ORDER BY position DESC LIMIT 1
       ) c
       ORDER BY c.trail`,
      [domain, trails],
    )
  ).map(signedOf)
}

/** Of one trail, or the chain: those after a position and up to another, in order. */
export async function readCheckpoints(
  sql: Sql,
  { domain, trail }: Pick<Checkpoint, 'domain' | 'trail'>,
  { after, upTo, limit = null }: { after: number; upTo: number; limit?: number | null },
): Promise<SignedCheckpoint[]> {
  return (
    await sql.query<CheckpointRow>(
      `SELECT trail, position, statement FROM audit_checkpoints
       WHERE domain = $1 AND trail = $2 AND position > $3::bigint AND position <= $4::bigint
       ORDER BY position LIMIT $5::int`,
      [domain, trail, after, upTo, limit],
    )
  ).map(signedOf)
}

/** Those at exactly these places of a domain. */
export async function checkpointsAt(
  sql: Sql,
  domain: string,
  places: readonly { trail: string; position: number }[],
): Promise<SignedCheckpoint[]> {
  return (
    await sql.query<CheckpointRow>(
      `SELECT c.trail, c.position, c.statement
       FROM unnest($2::text[], $3::bigint[]) AS p (trail, position)
       JOIN audit_checkpoints c ON c.domain = $1 AND c.trail = p.trail AND c.position = p.position`,
      [domain, places.map(({ trail }) => trail), places.map(({ position }) => position)],
    )
  ).map(signedOf)
}

export async function insertCheckpoints(
  sql: Sql,
  made: readonly { checkpoint: Checkpoint; statement: string }[],
): Promise<void> {
  await sql.query(
    `INSERT INTO audit_checkpoints (domain, trail, position, at, statement)
     SELECT domain, trail, position, at, statement
     FROM jsonb_to_recordset($1::jsonb) AS c (domain text, trail text, position bigint,
       at timestamptz, statement text)`,
    [JSON.stringify(made.map(({ checkpoint, statement }) => ({ ...checkpoint, statement })))],
  )
}

/** A checkpoint's place and its statement, unchecked. */
export type SignedCheckpoint = {
  readonly trail: string
  readonly position: number
  readonly statement: string
}

/** Every domain that has sent something. */
export async function auditedDomains(sql: Sql): Promise<string[]> {
  const rows = await sql.query<{ domain: string }>(
    'SELECT domain FROM audit_heads WHERE trail = $1 ORDER BY domain',
    [WHOLE],
  )
  return rows.map(({ domain }) => domain)
}

export const ENTRY = `domain, organization_id, trail_position, encode(entry_hash, 'hex') AS entry_hash,
  id, at, actor, action, target, reason, facts, before, after, request_id, origin`

export type EntryRow = {
  domain: string
  organization_id: string | null
  trail_position: bigint
  entry_hash: string
  id: string
  at: Date
  actor: Json
  action: string
  target: string
  reason: string | null
  facts: Json
  before: Json
  after: Json
  request_id: string | null
  origin: string | null
}
type LinkRow = EntryRow & { position: bigint; hash: string }
type HeadRow = { trail: string; position: bigint; hash: string }
type CheckpointRow = { trail: string; position: bigint; statement: string }

export function entryOf(row: EntryRow): Entry {
  const { id, actor, action, target, reason, facts, before, after, origin } = row
  return {
    domain: row.domain,
    trail: trailOf(row.organization_id),
    trailPosition: Number(row.trail_position),
    entryHash: row.entry_hash,
    fields: {
      id,
      at: row.at.toISOString(),
      actor,
      action,
      target,
      reason,
      facts,
      before,
      after,
      requestId: row.request_id,
      origin,
    },
  }
}

function headOf({ position, hash }: HeadRow): Head {
  return position === 0n ? BEGINNING : { position: Number(position), hash }
}

function signedOf({ trail, position, statement }: CheckpointRow): SignedCheckpoint {
  return { trail, position: Number(position), statement }
}
