import { type Actor, requireOrganization } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import type { AuditEvent } from '../model.ts'
import { type AuditFilter, listAuditEvents } from '../store/audit-events.ts'

type Paging = { first?: number | null | undefined; after?: string | null | undefined }

/** What was done, to be read by those whom it concerns. */
export type AuditEvents = {
  /** In the organization of the one who asks, newest first. @throws {DomainError} BAD_INPUT */
  list(actor: Actor, asked: Paging & Filtered): Promise<Connection<AuditEvent>>
  /**
   * On the platform when no organization is named, otherwise there: and that it was read is itself
   * audited, in the organization's own trail.
   *
   * @throws {DomainError} BAD_INPUT
   */
  listAny(
    actor: Actor,
    asked: Paging & Filtered & { organizationId?: string | null | undefined },
  ): Promise<Connection<AuditEvent>>
}

type Filtered = { filter?: AuditFilter | null | undefined }

const MAX_TEXT = 200

export function createAuditEvents({ database }: { database: SqlDatabase }): AuditEvents {
  return {
    list: (actor, asked) => read(requireOrganization(actor), asked),

    async listAny(actor, asked) {
      const { organizationId } = asked
      if (organizationId == null) return read(null, asked)
      const id = parseId('org', organizationId)
      checkFilter(asked.filter)
      // Committed before anything is told.
      await appendAudit(database.sql, {
        organizationId: idToUuid(id),
        actor,
        action: 'audit.read',
        target: id,
        facts: { domain: asked.filter?.domain ?? null, action: asked.filter?.action ?? null },
      })
      return read(id, asked)
    },
  }

  async function read(
    organizationId: string | null,
    { filter, ...input }: Paging & Filtered,
  ): Promise<Connection<AuditEvent>> {
    const page = pageArguments(input)
    const { take } = page
    const after = page.after === null ? null : parseId('aud', page.after)
    const rows = await listAuditEvents(database.sql, organizationId, checkFilter(filter), {
      take,
      after,
    })
    return connection({ ...page, rows, cursorOf: ({ fields }) => uuidToId('aud', fields.id) })
  }
}

function checkFilter(filter: AuditFilter | null | undefined): AuditFilter {
  for (const [name, value] of Object.entries(filter ?? {})) {
    if (typeof value !== 'string' || (value.length <= MAX_TEXT && !value.includes('\0'))) continue
    throw new DomainError('BAD_INPUT', `\`${name}\` has at most ${MAX_TEXT} characters`)
  }
  return filter ?? {}
}
