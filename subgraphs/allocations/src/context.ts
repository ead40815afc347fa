import type { PolicyClient } from '@berth/platform/policy-client'
import type { SubgraphRequest } from '@berth/platform/subgraph'
import type { Entities } from './service/entities.ts'
import type { Ports } from './service/ports.ts'

/** What resolvers and rules are given, fresh for each operation. */
export type Context = SubgraphRequest & {
  readonly policy: PolicyClient
  readonly ports: Ports
  readonly entities: Entities
}
