import { type Database, openDatabase } from '@berth/platform/database'
import { PrismaClient } from '@berth/prisma/notifications'

export type NotificationsDatabase = Database<PrismaClient>

/** @param url as `notifications_app` */
export function openNotificationsDatabase(url: string): NotificationsDatabase {
  return openDatabase({
    url,
    schema: 'notifications',
    client: (adapter) => new PrismaClient({ adapter }),
  })
}
