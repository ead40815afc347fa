import os from 'node:os'
import { loadConfig, subgraphConfig } from '@berth/platform/config'
import { openDatabase } from '@berth/platform/database'
import { newUuid } from '@berth/platform/ids'
import { PrismaClient } from '@berth/prisma/inventory'
import { z } from 'zod'
import { seedDevelopment } from './service/seed.ts'

const { DATABASE_URL, BERTH_DEVELOPMENT_NODE, BERTH_ACCOUNT } = loadConfig({
  DATABASE_URL: subgraphConfig.DATABASE_URL,
  BERTH_DEVELOPMENT_NODE: subgraphConfig.BERTH_DEVELOPMENT_NODE,
  /** The account that the development node runs as. */
  BERTH_ACCOUNT: z.string().default(os.userInfo().username),
})

const database = openDatabase({
  url: DATABASE_URL,
  schema: 'inventory',
  client: (adapter) => new PrismaClient({ adapter }),
})
try {
  const [, host, port] = /^(.+):(\d+)$/.exec(BERTH_DEVELOPMENT_NODE ?? '') ?? []
  await database.sqlTransaction((sql) =>
    seedDevelopment(sql, {
      id: newUuid(),
      now: new Date(),
      node: host && port ? { host, port: Number(port) } : null,
      username: BERTH_ACCOUNT,
    }),
  )
} finally {
  await database.close()
}
