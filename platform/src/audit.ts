import { type Actor, actorToClaims } from './actor.ts'
import { newUuid, timeOfUuid } from './ids.ts'
import type { Sql } from './sql.ts'

export type AuditRecord = {
  /** Null for what belongs to the platform. */
  organizationId: string | null
  actor: Actor
  /** `<thing>.<verb>` */
  action: string
  /** Id of what was changed, as the outside sees it. */
  target: string
  /** In the words of whoever did it. */
  reason?: string
  /** Ids and small values; no secret, no personal data. */
  facts?: Readonly<Record<string, string | number | boolean | null>>
  /** A derived uuid where a retry must not write twice. */
  id?: string
}

/**
 * Writes who did what, in the transaction of what they did. Never changed nor deleted afterwards.
 *
 * @returns its id
 */
export async function appendAudit(sql: Sql, record: AuditRecord): Promise<string> {
  const {
    id = newUuid(),
    organizationId,
    actor,
    action,
    target,
    reason = null,
    facts = {},
  } = record
  await sql.query(
    `INSERT INTO audit_events (id, at, organization_id, actor, action, target, reason, facts)
     VALUES ($1::uuid, $2::timestamptz, $3::uuid, $4::jsonb, $5, $6, $7, $8::jsonb)
     ON CONFLICT (id, at) DO NOTHING`,
    [
      id,
      timeOfUuid(id),
      organizationId,
      JSON.stringify(actorToClaims(actor)),
      action,
      target,
      reason,
      JSON.stringify(facts),
    ],
  )
  return id
}
