import { actorFromClaims } from '@berth/platform/actor'
import type { CommandClient } from '@berth/platform/commands'
import { fault } from '@berth/platform/fault-points'
import { type Id, newUuid } from '@berth/platform/ids'
import { placeHold, voidHold } from '@berth/schema/commands/billing'
import { bindSlots, holdSlots, nodeEndpoint, releaseSlots } from '@berth/schema/commands/inventory'
import { signCertificate } from '@berth/schema/commands/policy'
import type { OnBehalf } from './driver/port.ts'
import type { NodeAccess } from './driver/ssh.ts'
import type { Allocation, CarriedSlot, Reservation } from './model.ts'

/** Whether the node confirmed that nothing of the allocation is left on the slots. */
export type SlotOutcome = 'CLEAN' | 'UNCONFIRMED'

/**
 * What allocations ask of inventory, billing and policy, for whoever asked for the allocation. A
 * command's id derives from the allocation and its run, so that whoever repeats it, after whatever
 * crash, repeats the same command.
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
    async holdSlots(of) {
      const { id, run, organizationId, gpuModel, gpuCount, region } = of
      const input = { allocationId: id, run, organizationId, gpuModel, gpuCount, region }
      const held = await commands.call(holdSlots, input, optionsOf(of, 'slots.hold'))
      await fault('slots.hold:acknowledged')
      if (held.slots.length !== gpuCount) throw new Error('inventory held another number of slots')
      return { nodeId: held.nodeId, slots: held.slots }
    },

    async bindSlots(of) {
      const fenced = of.slots.map(({ slotId, generation }) => ({ slotId, generation }))
      const input = { allocationId: of.id, run: of.run, slots: fenced }
      const bound = await commands.call(bindSlots, input, optionsOf(of, 'slots.bind'))
      await fault('slots.bind:acknowledged')
      return bound.slots
    },

    async releaseSlots(of, outcome) {
      const input = { allocationId: of.id, run: of.run, outcome }
      const options = optionsOf(of, `slots.release.${outcome.toLowerCase()}`)
      await commands.call(releaseSlots, input, options)
      await fault('slots.release:acknowledged')
    },

    async placeHold(of) {
      const { id, run, organizationId, gpuModel, gpuCount } = of
      const input = { allocationId: id, run, organizationId, gpuModel, gpuCount }
      const { holdId } = await commands.call(placeHold, input, optionsOf(of, 'holds.place'))
      await fault('holds.place:acknowledged')
      return holdId
    },

    async voidHold(of) {
      const input = { allocationId: of.id, run: of.run, organizationId: of.organizationId }
      await commands.call(voidHold, input, optionsOf(of, 'holds.void'))
      await fault('holds.void:acknowledged')
    },

    nodes: {
      async endpoint(nodeId, by) {
        // Its answer changes: asked anew each time.
        const options = { ...by, commandId: newUuid() }
        const { name, ...found } = await commands.call(nodeEndpoint, { nodeId }, options)
        const { host, port, username, hostKeyFingerprint } = found
        return { nodeName: name, host, port, username, hostKeyFingerprint }
      },
      async certify(publicKey, principal, by) {
        const { certificate } = await commands.call(
          signCertificate,
          {
            authority: 'node',
            publicKey,
            principal,
            organizationId: null,
            ttlSeconds: CERTIFICATE_SECONDS,
          },
          { ...by, commandId: newUuid() },
        )
        return certificate
      },
    },
  }
}

/** In whose name, and in which request and trace, the platform acts for an allocation. */
export function onBehalf({ actor, cause }: Pick<Allocation, 'actor' | 'cause'>): OnBehalf {
  return {
    actor: actorFromClaims(actor),
    requestId: cause.correlationId ?? undefined,
    traceparent: cause.traceparent,
  }
}

function optionsOf(of: Allocation, name: string) {
  return { ...onBehalf(of), commandId: `${name}/${of.id}/${of.run}` }
}
