import { type Database, openDatabase } from '@berth/platform/database'
import { PrismaClient } from '@berth/prisma/policy'

export type PolicyDatabase = Database<PrismaClient>

/** @param url as `policy_app` */
export function openPolicyDatabase(url: string): PolicyDatabase {
  return openDatabase({ url, schema: 'policy', client: (adapter) => new PrismaClient({ adapter }) })
}
