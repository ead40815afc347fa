import { subjectOf } from '@berth/platform/actor'
import {
  type Json,
  parseIdempotencyKey,
  requestHash,
  withIdempotency,
} from '@berth/platform/idempotency'
import type { Sql } from '@berth/platform/sql'
import type { Asked } from './ports.ts'

/**
 * Runs the effect of a mutation; once per Idempotency-Key, when there is one. Keys are the
 * organization's, or the person's who acts in none; the same key from someone else is another request.
 *
 * @param sql of the effect's transaction
 * @param effect returns what may be stored and told again
 */
export async function once<T extends Json>(
  sql: Sql,
  { actor, idempotencyKey }: Asked,
  operation: string,
  input: unknown,
  effect: () => Promise<T>,
): Promise<T> {
  if (idempotencyKey === null) return effect()
  const subject = subjectOf(actor)
  const call = {
    scope: `client:${actor.organizationId ?? subject}`,
    key: parseIdempotencyKey(idempotencyKey),
    operation,
    requestHash: requestHash({ operation, subject, input }),
  }
  return withIdempotency(sql, call, effect)
}
