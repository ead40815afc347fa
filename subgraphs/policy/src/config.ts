import { subgraphConfig } from '@berth/platform/config'

export const policyConfig = { ...subgraphConfig } as const
