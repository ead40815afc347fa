import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import { idToUuid, uuidToId } from '@berth/platform/ids'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import type { Holds } from './service/holds.ts'

/** What other services ask. Both are idempotent by their allocation, whatever the command's id. */
export function billingCommands(holds: Holds): CommandHandler[] {
  return [
    handleCommand(placeHold, async ({ allocationId, organizationId, gpuModel, gpuCount }) => {
      const { holdId } = await holds.place({
        allocationId: idToUuid(allocationId),
        organizationId: idToUuid(organizationId),
        gpuModel,
        gpuCount,
      })
      return { holdId: uuidToId('hld', holdId) }
    }),
    handleCommand(voidHold, async ({ allocationId, organizationId }) => ({
      voided: await holds.void(idToUuid(organizationId), idToUuid(allocationId)),
    })),
  ]
}
