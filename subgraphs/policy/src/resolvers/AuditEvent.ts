import { uuidToId } from '@berth/platform/ids'
import type { AuditEventResolvers } from '../generated/resolvers.ts'
import { auditFacts } from '../model.ts'

export const AuditEvent: AuditEventResolvers = {
  id: ({ fields }) => uuidToId('aud', fields.id),
  at: ({ occurredAt }) => occurredAt,
  actor: ({ by }) => by,
  action: ({ fields }) => fields.action,
  target: ({ fields }) => fields.target,
  reason: ({ fields }) => fields.reason,
  facts: ({ fields }) => auditFacts(fields.facts) ?? [],
  before: ({ fields }) => auditFacts(fields.before),
  after: ({ fields }) => auditFacts(fields.after),
  requestId: ({ fields }) => fields.requestId,
  origin: ({ fields }) => fields.origin,
  position: ({ trailPosition }) => trailPosition,
  hash: ({ entryHash }) => entryHash,
}
