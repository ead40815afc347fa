import { requireOrganization } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { DomainError } from '@berth/platform/errors'
import { idempotent } from '@berth/platform/idempotency'
import { idToUuid, parseId } from '@berth/platform/ids'
import { isLive } from '../domain/machine.ts'
import type { Allocation } from '../model.ts'
import { changeAllocation } from '../store/allocations.ts'
import { type Asked, causeOf, type Ports } from './ports.ts'

/**
 * Gives an allocation back, from whatever state it is in: billing stops here, the worker does the
 * rest. What has ended already is returned as it is.
 *
 * @throws {DomainError} NOT_FOUND when the organization has none of that id
 */
export async function releaseAllocation(
  ports: Ports,
  asked: Asked,
  input: { id: string },
): Promise<Allocation> {
  const { actor } = asked
  const organizationId = requireOrganization(actor)
  const id = parseId('alc', input.id)
  await ports.database.sqlTransaction((sql) =>
    idempotent(sql, asked, 'allocationRelease', { id }, async () => {
      const released = await changeAllocation(
        sql,
        organizationId,
        id,
        ({ state }) => (isLive(state) ? { trigger: 'release', reason: 'USER' } : null),
        { now: ports.clock.now(), cause: causeOf(asked) },
      )
      if (!released) throw notFound(id)
      const { before, after } = released
      if (before.state !== after.state) {
        await appendAudit(sql, {
          organizationId: idToUuid(organizationId),
          actor,
          action: 'allocation.release',
          target: id,
          before: { state: before.state },
          after: { state: after.state },
        })
      }
      return { allocationId: id }
    }),
  )
  ports.wake()
  const allocation = await ports.allocations.find(organizationId, id)
  if (!allocation) throw notFound(id)
  return allocation
}

export function notFound(id: string): DomainError {
  return new DomainError('NOT_FOUND', `Your organization has no allocation ${id}`)
}
