import type { Database } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { PrismaClient } from '@berth/prisma/allocations'
import type { TerminalToken } from '@berth/schema/commands/allocations'

export type StoredSession = Omit<TerminalToken, 'origin' | 'credential'> & {
  readonly closedAt: Date | null
}

export type TerminalStore = {
  find(id: Id<'tms'>): Promise<StoredSession | null>
  markOpened(id: Id<'tms'>, now: Date): Promise<void>
  /** @returns whether it was open until now */
  close(id: Id<'tms'>, reason: string, now: Date): Promise<boolean>
}

export function createTerminalStore({
  prisma,
}: Pick<Database<PrismaClient>, 'prisma'>): TerminalStore {
  return {
    async find(id) {
      const row = await prisma.terminalSession.findUnique({ where: { id: idToUuid(id) } })
      return (
        row && {
          terminalSessionId: id,
          allocationId: uuidToId('alc', row.allocationId),
          organizationId: uuidToId('org', row.organizationId),
          userId: uuidToId('usr', row.userId),
          closedAt: row.closedAt,
        }
      )
    },
    async markOpened(id, now) {
      await prisma.terminalSession.updateMany({
        where: { id: idToUuid(id), openedAt: null },
        data: { openedAt: now },
      })
    },
    async close(id, reason, now) {
      const { count } = await prisma.terminalSession.updateMany({
        where: { id: idToUuid(id), closedAt: null },
        data: { closedAt: now, closeReason: reason },
      })
      return count > 0
    },
  }
}
