import type { Clock } from '@berth/platform/clock'
import type { Id } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { User } from './model.ts'
import type { ApiKeys } from './service/api-keys.ts'
import type { AuditEvents } from './service/audit-events.ts'
import type { AuditExport } from './service/audit-export.ts'
import type { Directory } from './service/directory.ts'
import type { Invitations } from './service/invitations.ts'
import type { Memberships } from './service/memberships.ts'
import type { PolicyChanges } from './service/policy-changes.ts'
import type { PolicyDecisions } from './service/policy-decisions.ts'
import type { PolicyViews } from './service/policy-views.ts'
import type { RulesDryRun } from './service/rules-dry-run.ts'
import type { Sessions } from './service/sessions.ts'
import type { SigningKeys } from './service/signing-keys.ts'
import type { Suspensions } from './service/suspensions.ts'

/** What answers. */
export type Ports = {
  readonly apiKeys: ApiKeys
  readonly auditEvents: AuditEvents
  readonly auditExport: AuditExport
  readonly directory: Directory
  readonly invitations: Invitations
  readonly memberships: Memberships
  readonly policy: PolicyClient
  readonly policyChanges: PolicyChanges
  readonly policyDecisions: PolicyDecisions
  readonly policyViews: PolicyViews
  readonly rulesDryRun: RulesDryRun
  readonly sessions: Sessions
  readonly signingKeys: SigningKeys
  readonly suspensions: Suspensions
}

export type Context = SubgraphRequest &
  Ports & {
    /** When the operation began: what is told by time agrees with itself. */
    readonly now: Date
    /** A person whom the actor may see, or null. */
    readonly person: (id: Id<'usr'>) => Promise<User | null>
  }

export function createContext(
  request: SubgraphRequest,
  { clock, ...ports }: Ports & { readonly clock: Clock },
): Context {
  const person = createLoader<Id<'usr'>, User>((ids) => ports.directory.people(request.actor, ids))
  return { ...request, ...ports, now: clock.now(), person }
}
