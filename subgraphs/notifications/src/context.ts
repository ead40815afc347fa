import type { Id } from '@berth/platform/ids'
import { createLoader } from '@berth/platform/loader'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { Notification } from './model.ts'
import type { Inbox } from './service/inbox.ts'

export type Context = SubgraphRequest & {
  readonly policy: PolicyClient
  readonly inbox: Inbox
  /** A notification of the person who asks, or null. */
  readonly notification: (id: Id<'ntf'>) => Promise<Notification | null>
}

export function createContext(
  request: SubgraphRequest,
  { inbox, policy }: { inbox: Inbox; policy: PolicyClient },
): Context {
  const notification = createLoader<Id<'ntf'>, Notification>((ids) => inbox.own(request.actor, ids))
  return { ...request, policy, inbox, notification }
}
