import type { Id } from '@berth/platform/ids'
import { type Channel, channelOf } from '@berth/platform/pubsub'

/** Something new in a person's inbox; the hint is its sequence. */
export function userChannel(id: Id<'usr'>): Channel {
  return channelOf('inbox', 'user', id)
}

/** Something new for everyone in an organization. */
export function orgChannel(id: Id<'org'>): Channel {
  return channelOf('inbox', 'org', id)
}

/** Something new for everyone. */
export function broadcastChannel(): Channel {
  return channelOf('inbox', 'broadcast')
}
