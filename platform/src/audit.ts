import { type Actor, type ActorClaims, actorToClaims } from './actor.ts'
import { idToUuid, newUuid, timeOfUuid } from './ids.ts'
import { currentRequest } from './request-scope.ts'
import type { Sql } from './sql.ts'

/** Ids and small values; no secret, no personal data. */
export type AuditFacts = Readonly<Record<string, string | number | boolean | null>>

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
  facts?: AuditFacts
  /** What the change changed, as it was; left out where there was nothing. */
  before?: AuditFacts
  /** The same as it is now; left out where nothing is left. */
  after?: AuditFacts
  /** A derived uuid where a retry must not write twice. */
  id?: string
}

/** What policy would not take would hold up every row after it. */
export const MAX_AUDIT_CHARACTERS = 128 * 1024

/**
 * Writes who did what, in the transaction of what they did; with the request that it was done for,
 * and the way that came. Never changed nor deleted afterwards. A trigger queues it for policy, which
 * seals it: audit-relay.ts.
 *
 * @returns its id
 * @throws {RangeError} when it exceeds 128 KiB: facts are small
 */
export async function appendAudit(sql: Sql, record: AuditRecord): Promise<string> {
  const { id = newUuid(), organizationId, actor, action, target, reason = null } = record
  const { facts = {}, before, after } = record
  const { requestId = null, origin = null } = currentRequest() ?? {}
  const claims = JSON.stringify(claimsIn(organizationId, actor))
  const [said, was, is] = [facts, before, after].map((it) => (it ? JSON.stringify(it) : null))
  const texts = [claims, action, target, reason, said, was, is]
  const length = texts.reduce((sum, text) => sum + (text?.length ?? 0), 0)
  if (length > MAX_AUDIT_CHARACTERS) {
    throw new RangeError(`${action}: an audit record of ${length} characters`)
  }
  await sql.query(
    `INSERT INTO audit_events
       (id, at, organization_id, actor, action, target, reason, facts, before, after, request_id, origin)
     VALUES ($1::uuid, $2::timestamptz, $3::uuid, $4::jsonb, $5, $6, $7, $8::jsonb, $9::jsonb,
       $10::jsonb, $11, $12)
     ON CONFLICT (id, at) DO NOTHING`,
    [
      id,
      timeOfUuid(id),
      organizationId,
      claims,
      action,
      target,
      reason,
      said,
      was,
      is,
      requestId,
      origin,
    ],
  )
  return id
}

/** An organization sees its audit whole: not where else who acted there belongs, nor as what. */
function claimsIn(organizationId: string | null, actor: Actor): ActorClaims {
  const claims = actorToClaims(actor)
  const { org, ...elsewhere } = claims
  if (organizationId === null || !org || idToUuid(org) === organizationId) return claims
  return { ...elsewhere, roles: claims.roles.filter((it) => it.startsWith('platform:')) }
}
