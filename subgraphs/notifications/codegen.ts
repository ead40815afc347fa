import { subgraphCodegen } from '@berth/schema/codegen'

export default subgraphCodegen('notifications', {
  Notification: '../model.ts#Notification as NotificationModel',
  InboxEvent: '../model.ts#InboxEvent as InboxEventModel',
})
