import { type Actor, requireOrganization } from '@berth/platform/actor'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import type { DecisionRecord } from '../model.ts'
import { listDecisions } from '../store/decisions.ts'

type Asked = {
  readonly first?: number | null | undefined
  readonly after?: string | null | undefined
  readonly isGranted?: boolean | null | undefined
}

export type PolicyDecisions = {
  /** Of the organization of the one who asks. */
  list(actor: Actor, asked: Asked): Promise<Connection<DecisionRecord>>
  /** Of all, or of the organization that is named. */
  listAny(
    asked: Asked & { organizationId?: string | null | undefined },
  ): Promise<Connection<DecisionRecord>>
}

export function createPolicyDecisions({ sql }: { sql: Sql }): PolicyDecisions {
  return {
    list: (actor, asked) => read(requireOrganization(actor), asked),
    listAny: ({ organizationId, ...asked }) =>
      read(organizationId == null ? 'any' : parseId('org', organizationId), asked),
  }

  async function read(of: Id<'org'> | 'any', { isGranted, ...asked }: Asked) {
    const page = pageArguments(asked)
    const after = page.after === null ? null : idToUuid(parseId('dec', page.after))
    const filter = { take: page.take, after, isGranted: isGranted ?? null }
    const rows = await listDecisions(sql, of, filter)
    return connection({ ...page, rows, cursorOf: decisionId })
  }
}

export function decisionId({ id }: DecisionRecord): Id<'dec'> {
  return uuidToId('dec', id)
}
