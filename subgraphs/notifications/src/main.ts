import { runService } from '@berth/platform/lifecycle'
import { openNotifications } from './app.ts'
import { notificationsConfig } from './config.ts'

await runService('notifications', notificationsConfig, openNotifications)
