import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import { idToUuid, uuidToId } from '@berth/platform/ids'
import { bindSlots, holdSlots, nodeEndpoint, releaseSlots } from '@berth/schema/commands/inventory'
import type { Reads } from './service/reads.ts'
import type { Slots } from './service/slots.ts'

/** What allocations asks. All are idempotent by their allocation and its run, whatever the command's id. */
export function inventoryCommands(slots: Slots, reads: Reads): CommandHandler[] {
  return [
    handleCommand(holdSlots, async ({ allocationId, organizationId, ...demand }) => {
      const held = await slots.hold({
        ...demand,
        allocationId: idToUuid(allocationId),
        organizationId: idToUuid(organizationId),
      })
      return {
        nodeId: uuidToId('nod', held.nodeId),
        region: held.region,
        slots: held.slots.map(({ id, index, gpuUuid, generation }) => ({
          slotId: uuidToId('slt', id),
          index,
          gpuUuid,
          generation: Number(generation),
        })),
      }
    }),
    handleCommand(bindSlots, async ({ allocationId, run, slots: fenced }) => {
      const bound = await slots.bind(
        { allocationId: idToUuid(allocationId), run },
        fenced.map(({ slotId, generation }) => ({ slotId: idToUuid(slotId), generation })),
      )
      return {
        slots: bound.map((it) => ({
          slotId: uuidToId('slt', it.slotId),
          generation: it.generation,
        })),
      }
    }),
    handleCommand(releaseSlots, async ({ allocationId, run, outcome }) => ({
      released: await slots.release({ allocationId: idToUuid(allocationId), run }, outcome),
    })),
    handleCommand(nodeEndpoint, async ({ nodeId }) => {
      const endpoint = await reads.endpoint(idToUuid(nodeId))
      return { ...endpoint, nodeId: uuidToId('nod', endpoint.nodeId) }
    }),
  ]
}
