import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid } from '@berth/platform/ids'

/**
 * Hides what a person was told as a member of an organization, or shows it again. What is hidden is
 * kept for as long as the rest, is nobody's to read or mark, and is in no count.
 *
 * @param organizationId a uuid
 */
export async function setHidden(
  sql: Sql,
  userId: Id<'usr'>,
  organizationId: string,
  isHidden: boolean,
): Promise<void> {
  const user = idToUuid(userId)
  // Whatever changes the inbox waits here.
  await sql.query('SELECT 1 FROM inboxes WHERE user_id = $1::uuid FOR UPDATE', [user])
  await sql.query(
    `WITH changed AS (
       UPDATE notifications SET is_hidden = $3::boolean
       WHERE user_id = $1::uuid AND organization_id = $2::uuid AND is_hidden <> $3::boolean
       RETURNING status
     ), counted AS (
       SELECT count(*) AS total, count(*) FILTER (WHERE status = 'UNSEEN') AS unseen,
         count(*) FILTER (WHERE status IN ('UNSEEN', 'SEEN')) AS unread FROM changed
     )
     UPDATE inboxes i SET version = i.version + 1, updated_at = now(),
       unseen = i.unseen + CASE WHEN $3::boolean THEN -c.unseen ELSE c.unseen END,
       unread = i.unread + CASE WHEN $3::boolean THEN -c.unread ELSE c.unread END
     FROM counted c WHERE i.user_id = $1::uuid AND c.total > 0`,
    [user, organizationId, isHidden],
  )
}
