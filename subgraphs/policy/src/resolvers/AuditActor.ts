import type { ActorKind } from '@berth/platform/actor'
import type { AuditActorKind, AuditActorResolvers } from '../generated/resolvers.ts'

const KINDS: Record<ActorKind, AuditActorKind> = {
  anonymous: 'ANONYMOUS',
  person: 'PERSON',
  'api-key': 'API_KEY',
  service: 'SERVICE',
}

export const AuditActor: AuditActorResolvers = {
  kind: ({ kind }) => KINDS[kind],
  userId: ({ sub }) => sub ?? null,
  user: ({ sub }, _args, { person }) => (sub ? person(sub) : null),
  credentialId: ({ cred }) => cred ?? null,
  service: ({ svc }) => svc ?? null,
  roles: ({ roles }) => [...(roles ?? [])],
}
