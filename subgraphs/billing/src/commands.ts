import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import { idToUuid, uuidToId } from '@berth/platform/ids'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import type { Holds } from './service/holds.ts'

/** What other services ask. Both are idempotent by their allocation and its run, whatever the command's id. */
export function billingCommands(holds: Holds): CommandHandler[] {
  return [
    handleCommand(placeHold, async ({ allocationId, run, organizationId, gpuModel, gpuCount }) => {
      const { holdId } = await holds.place({
        allocationId: idToUuid(allocationId),
        run,
        organizationId: idToUuid(organizationId),
        gpuModel,
        gpuCount,
      })
      return { holdId: uuidToId('hld', holdId) }
    }),
    handleCommand(voidHold, async ({ allocationId, run, organizationId }) => ({
      voided: await holds.void(idToUuid(organizationId), {
        allocationId: idToUuid(allocationId),
        run,
      }),
    })),
  ]
}
