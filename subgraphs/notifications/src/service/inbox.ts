import { type Actor, requirePerson } from '@berth/platform/actor'
import { type Connection, pageArguments } from '@berth/platform/connection'
import { beyondRetention, type Cursors } from '@berth/platform/cursor'
import { DomainError } from '@berth/platform/errors'
import { follow } from '@berth/platform/follow'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, parseId } from '@berth/platform/ids'
import type { Hints } from '@berth/platform/pubsub'
import { userChannel } from '../channels.ts'
import type { NotificationsDatabase } from '../database.ts'
import type { InboxStatus } from '../domain/notification.ts'
import type { InboxCounts, InboxEvent, Notification } from '../model.ts'
import * as store from '../store/inbox.ts'

/** A person's own inbox. Each of these throws FORBIDDEN or UNAUTHENTICATED when no person asks. */
export type Inbox = {
  /** Newest first. @throws {DomainError} BAD_INPUT when the page is none */
  page(actor: Actor, page: PageOf): Promise<Connection<Notification> & { streamCursor: string }>
  counts(actor: Actor): Promise<InboxCounts>
  /** Those of these notifications that are the person's own. */
  own(actor: Actor, ids: readonly Id<'ntf'>[]): Promise<Map<Id<'ntf'>, Notification>>
  /**
   * Under a key, once. A repetition changes nothing, and is told how the same notifications are now.
   *
   * @throws {DomainError} NOT_FOUND, with nothing changed, when one is not the person's own
   */
  mark(caller: Keyed, ids: readonly string[], status: InboxStatus): Promise<Marked>
  /**
   * Every notification after a cursor, then those that come: each once, in order, and all but what is
   * hidden then.
   *
   * @param cursor of a notification; null starts with the next one
   * @param startsAfter told where it starts, so that who lost it before its first event can go on there
   * @throws {DomainError} BAD_INPUT when it is no cursor of this inbox; STREAM_RESET, also later,
   *   when something after it is kept no more
   */
  follow(
    actor: Actor,
    cursor: string | null,
    startsAfter?: (cursor: string) => void,
  ): Promise<AsyncIterableIterator<InboxEvent>>
}

type PageOf = {
  statuses?: readonly InboxStatus[] | null | undefined
  first?: number | null | undefined
  after?: string | null | undefined
}

type Marked = { notifications: Notification[]; counts: InboxCounts }

const MARK_MAX = 100
const FOLLOW_PAGE = 100

export function createInbox({
  database,
  cursors,
  hints,
  pollSeconds = 5,
}: {
  database: NotificationsDatabase
  cursors: Cursors
  hints: Pick<Hints, 'subscribe'>
  /** How late a lost hint may make a notification. */
  pollSeconds?: number
}): Inbox {
  const streamOf = (userId: Id<'usr'>) => ({ stream: 'inbox', owner: userId })
  const cursorOf = (userId: Id<'usr'>, position: bigint) =>
    cursors.encode({ ...streamOf(userId), position })

  async function eventsAfter(userId: Id<'usr'>, after: bigint): Promise<InboxEvent[]> {
    for (let from = after; ; ) {
      const { state, entries } = await store.inboxAfter(database.sql, userId, from, FOLLOW_PAGE)
      // A cursor ahead of the inbox was given before the database was restored from a backup.
      if (from < state.purgedSequence || from > state.lastSequence) throw beyondRetention()
      const events: InboxEvent[] = []
      for (const { sequence: position, notification } of entries) {
        from += 1n
        if (position !== from) throw new Error(`sequence ${from} is missing from an inbox`)
        const cursor = cursorOf(userId, position)
        if (notification) events.push({ position, cursor, notification, counts: countsOf(state) })
      }
      // A page of hidden ones alone says nothing of what comes after it.
      if (events.length > 0 || entries.length < FOLLOW_PAGE) return events
    }
  }

  return {
    async page(actor, { statuses, first, after }) {
      const userId = requirePerson(actor)
      const page = pageArguments({ first })
      // Before the rows: what comes in between is in both rather than in neither.
      const { lastSequence } = await store.inboxState(database.sql, userId)
      const rows = await store.notificationsBefore(database.sql, userId, {
        statuses: statuses ?? ['UNSEEN', 'SEEN', 'READ'],
        before: after == null ? null : cursors.decode(after, streamOf(userId)),
        limit: page.take,
      })
      // The stream's own cursors, so that a client goes on live from the first row that it read.
      const nodes = rows.slice(0, page.first)
      const edges = nodes.map((node) => ({ cursor: cursorOf(userId, node.sequence), node }))
      return {
        edges,
        nodes,
        pageInfo: {
          hasNextPage: rows.length > page.first,
          hasPreviousPage: after != null,
          startCursor: edges[0]?.cursor ?? null,
          endCursor: edges.at(-1)?.cursor ?? null,
        },
        streamCursor: cursorOf(userId, lastSequence),
      }
    },

    async counts(actor) {
      return countsOf(await store.inboxState(database.sql, requirePerson(actor)))
    },

    async own(actor, ids) {
      return store.notificationsById(database.sql, requirePerson(actor), ids)
    },

    async mark(caller, texts, status) {
      const userId = requirePerson(caller.actor)
      const ids = [...new Set(texts.map((text) => parseId('ntf', text)))]
      if (ids.length < 1 || ids.length > MARK_MAX) {
        throw new DomainError('BAD_INPUT', `Mark 1 to ${MARK_MAX} notifications at once`)
      }
      return database.sqlTransaction(async (sql) => {
        await idempotent(sql, caller, 'inboxMark', { ids, status }, async () => {
          if (await store.markNotifications(sql, userId, ids, status)) return { marked: ids.length }
          throw new DomainError('NOT_FOUND', 'One of these is not in your inbox: read it')
        })
        const marked = await store.notificationsById(sql, userId, ids)
        const counts = countsOf(await store.inboxState(sql, userId))
        return { notifications: ids.flatMap((id) => marked.get(id) ?? []), counts }
      })
    },

    async follow(actor, cursor, startsAfter) {
      const userId = requirePerson(actor)
      const { lastSequence, purgedSequence } = await store.inboxState(database.sql, userId)
      const after = cursor === null ? lastSequence : cursors.decode(cursor, streamOf(userId))
      if (after < purgedSequence || after > lastSequence) throw beyondRetention()
      startsAfter?.(cursorOf(userId, after))
      return follow({
        after,
        readAfter: (position) => eventsAfter(userId, position),
        hints: (onHint) => hints.subscribe(userChannel(userId), onHint),
        pollSeconds,
      })
    },
  }
}

function countsOf({ unseen, unread, version }: InboxCounts): InboxCounts {
  return { unseen, unread, version }
}
