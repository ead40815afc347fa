import type { Id } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { User } from './model.ts'
import type { Directory } from './service/directory.ts'

export type Context = SubgraphRequest & {
  readonly policy: PolicyClient
  readonly directory: Directory
  /** A person whom the actor may see, or null. */
  readonly person: (id: Id<'usr'>) => Promise<User | null>
}

export function createContext(
  request: SubgraphRequest,
  { directory, policy }: { directory: Directory; policy: PolicyClient },
): Context {
  const person = createLoader<Id<'usr'>, User>((ids) => directory.people(request.actor, ids))
  return { ...request, directory, policy, person }
}
