import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import { RULES_POLICY } from '../domain/policy-keys.ts'
import { ROLES_POLICY } from '../domain/roles-policy.ts'
import type { DecisionRecord } from '../model.ts'

/** A value that decisions depend on; `stamp` is another one when it is another value. */
export type RulesRow = {
  readonly key: string
  readonly level: 'PLATFORM' | 'ORGANIZATION'
  readonly version: bigint
  readonly stamp: string
  /** Null in a row that was read without it. */
  readonly value: unknown
}

/** What decides in an organization, or for who acts for none: as it is committed now. */
export async function readRules(
  sql: Sql,
  organizationId: Id<'org'> | null,
  { withValues }: { withValues: boolean },
): Promise<RulesRow[]> {
  return sql.query<RulesRow>(
    `SELECT key, level, version, id || ':' || version AS stamp, CASE WHEN $4::boolean THEN value END AS value
     FROM policy_values
     WHERE value IS NOT NULL AND (
       (key IN ($1, $2) AND level = 'PLATFORM')
       OR (key = $2 AND level = 'ORGANIZATION' AND organization_id = $3::uuid)
     )
     ORDER BY key, level`,
    [ROLES_POLICY, RULES_POLICY, organizationId && idToUuid(organizationId), withValues],
  )
}

export async function insertDecisions(sql: Sql, records: readonly DecisionRecord[]): Promise<void> {
  const rows = records.map((it) => ({
    ...it,
    organizationId: it.organizationId && idToUuid(it.organizationId),
  }))
  await sql.query(
    `INSERT INTO policy_decisions
       (id, at, organization_id, kind, roles, action, facts, is_granted, basis, granted, dependent, versions, weight)
     SELECT id, at, "organizationId", kind, roles, action, facts, "isGranted", basis, granted, dependent, versions, weight
     FROM jsonb_to_recordset($1::jsonb) AS r (
       id uuid, at timestamptz, "organizationId" uuid, kind text, roles text[], action text, facts jsonb,
       "isGranted" boolean, basis text, granted text[], dependent text[], versions jsonb, weight integer
     )`,
    [JSON.stringify(rows)],
  )
}

/**
 * Newest first.
 *
 * @param organizationId `any` for those of all, and of none
 */
export async function listDecisions(
  sql: Sql,
  organizationId: Id<'org'> | 'any',
  {
    take,
    after,
    isGranted = null,
  }: { take: number; after: string | null; isGranted?: boolean | null },
): Promise<DecisionRecord[]> {
  const rows = await sql.query<Row>(
    `SELECT id, at, organization_id AS "organizationId", kind, roles, action, facts, is_granted AS "isGranted",
       basis, granted, dependent, versions, weight
     FROM policy_decisions
     WHERE ($2::uuid IS NULL OR organization_id = $2::uuid) AND ($3::uuid IS NULL OR id < $3::uuid)
       AND ($4::boolean IS NULL OR is_granted = $4::boolean)
     ORDER BY id DESC LIMIT $1::int`,
    [take, organizationId === 'any' ? null : idToUuid(organizationId), after, isGranted],
  )
  return rows.map((row) => ({
    ...row,
    organizationId: row.organizationId === null ? null : uuidToId('org', row.organizationId),
  }))
}

type Row = Omit<DecisionRecord, 'organizationId'> & { organizationId: string | null }

/** @returns whether there is more */
export async function sweepDecisions(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ swept: bigint }>('SELECT sweep_policy_decisions() AS swept')
  return row?.swept === 5_000n
}
