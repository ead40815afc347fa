import type { Clock } from '@berth/platform/clock'
import type { Id } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { User } from './model.ts'
import type { ApiKeys } from './service/api-keys.ts'
import type { Directory } from './service/directory.ts'
import type { Invitations } from './service/invitations.ts'
import type { Memberships } from './service/memberships.ts'
import type { Sessions } from './service/sessions.ts'

/** What answers. */
export type Ports = {
  readonly apiKeys: ApiKeys
  readonly directory: Directory
  readonly invitations: Invitations
  readonly memberships: Memberships
  readonly policy: PolicyClient
  readonly sessions: Sessions
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
