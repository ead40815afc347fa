import type { CommandClient } from '@berth/platform/commands'
import { fault } from '@berth/platform/fault-points'
import { type Id, newUuid } from '@berth/platform/ids'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import { bindSlots, holdSlots, nodeEndpoint, releaseSlots } from '@berth/schema/commands/inventory'
import { signCertificate } from '@berth/schema/commands/policy'
import type { NodeAccess } from './driver/ssh.ts'
import type { Allocation, CarriedSlot, Reservation } from './model.ts'

/** Whether the node confirmed that nothing of the allocation is left on the slots. */
export type SlotOutcome = 'CLEAN' | 'UNCONFIRMED'

/**
 * What allocations ask of inventory, billing and policy. A command's id derives from its allocation,
 * so that whoever repeats it, after whatever crash, repeats the same command.
 */
export type Upstream = {
  holdSlots(of: Allocation): Promise<Pick<Reservation, 'nodeId' | 'slots'>>
  bindSlots(of: Allocation): Promise<readonly Pick<CarriedSlot, 'slotId' | 'generation'>[]>
  releaseSlots(of: Allocation, outcome: SlotOutcome): Promise<void>
  placeHold(of: Allocation): Promise<Id<'hld'>>
  voidHold(of: Allocation): Promise<void>
  readonly nodes: NodeAccess
}

const CERTIFICATE_SECONDS = 120

export function createUpstream(commands: Pick<CommandClient, 'call'>): Upstream {
  return {
    async holdSlots({ id, organizationId, gpuModel, gpuCount, region }) {
      const input = { allocationId: id, organizationId, gpuModel, gpuCount, region }
      const held = await commands.call(holdSlots, input, { commandId: `slots.hold/${id}` })
      await fault('slots.hold:acknowledged')
      if (held.slots.length !== gpuCount) throw new Error('inventory held another number of slots')
      return { nodeId: held.nodeId, slots: held.slots }
    },

    async bindSlots({ id, slots }) {
      const fenced = slots.map(({ slotId, generation }) => ({ slotId, generation }))
      const input = { allocationId: id, slots: fenced }
      const bound = await commands.call(bindSlots, input, { commandId: `slots.bind/${id}` })
      await fault('slots.bind:acknowledged')
      return bound.slots
    },

    async releaseSlots({ id }, outcome) {
      const commandId = `slots.release.${outcome.toLowerCase()}/${id}`
      await commands.call(releaseSlots, { allocationId: id, outcome }, { commandId })
      await fault('slots.release:acknowledged')
    },

    async placeHold({ id, organizationId, gpuModel, gpuCount }) {
      const input = { allocationId: id, organizationId, gpuModel, gpuCount }
      const { holdId } = await commands.call(placeHold, input, { commandId: `holds.place/${id}` })
      await fault('holds.place:acknowledged')
      return holdId
    },

    async voidHold({ id, organizationId }) {
      const input = { allocationId: id, organizationId }
      await commands.call(voidHold, input, { commandId: `holds.void/${id}` })
      await fault('holds.void:acknowledged')
    },

    nodes: {
      async endpoint(nodeId) {
        // Its answer changes: asked anew each time.
        const commandId = newUuid()
        const { name, ...found } = await commands.call(nodeEndpoint, { nodeId }, { commandId })
        const { host, port, username, hostKeyFingerprint } = found
        return { nodeName: name, host, port, username, hostKeyFingerprint }
      },
      async certify(publicKey, principal) {
        const { certificate } = await commands.call(
          signCertificate,
          {
            authority: 'node',
            publicKey,
            principal,
            organizationId: null,
            ttlSeconds: CERTIFICATE_SECONDS,
          },
          { commandId: newUuid() },
        )
        return certificate
      },
    },
  }
}
