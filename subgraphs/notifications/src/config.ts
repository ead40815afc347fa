import { subgraphConfig } from '@berth/platform/config'

export const notificationsConfig = { ...subgraphConfig } as const
