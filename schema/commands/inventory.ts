import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

const slot = z.strictObject({
  slotId: idOf('slt'),
  index: z.int().min(0),
  gpuUuid: z.string(),
  /** The fencing token: a later command that names an older generation changes nothing. */
  generation: z.int().min(0),
})

/** Which run of its allocation this is; 1 is the first. Each run holds slots of its own. */
const run = z.int().min(1)

const fenced = z.strictObject({ slotId: idOf('slt'), generation: z.int().min(0) })

/** Holds free slots on one node for an allocation. `NO_CAPACITY` when no node has enough. */
export const holdSlots = command({
  name: 'slots.hold',
  owner: 'inventory',
  callers: ['allocations'],
  input: z.strictObject({
    allocationId: idOf('alc'),
    run,
    organizationId: idOf('org'),
    gpuModel: z.string().max(80),
    gpuCount: z.int().min(1).max(16),
    region: z.string().max(40).nullable(),
  }),
  output: z.strictObject({ nodeId: idOf('nod'), region: z.string(), slots: z.array(slot) }),
})

/** HELD → BOUND. `CONFLICT` when a generation is stale. */
export const bindSlots = command({
  name: 'slots.bind',
  owner: 'inventory',
  callers: ['allocations'],
  input: z.strictObject({ allocationId: idOf('alc'), run, slots: z.array(fenced).min(1) }),
  output: z.strictObject({ slots: z.array(fenced) }),
})

/**
 * Gives the slots of an allocation's run back: FREE when the node confirmed that they are clean, QUARANTINED
 * when it did not. Slots that carry another allocation by now are left alone.
 */
export const releaseSlots = command({
  name: 'slots.release',
  owner: 'inventory',
  callers: ['allocations'],
  input: z.strictObject({
    allocationId: idOf('alc'),
    run,
    outcome: z.enum(['CLEAN', 'UNCONFIRMED']),
  }),
  output: z.strictObject({ released: z.int().min(0) }),
})

/** How to reach a node. */
export const nodeEndpoint = command({
  name: 'nodes.endpoint',
  owner: 'inventory',
  callers: ['allocations'],
  input: z.strictObject({ nodeId: idOf('nod') }),
  output: z.strictObject({
    nodeId: idOf('nod'),
    name: z.string(),
    host: z.string(),
    port: z.int(),
    username: z.string(),
    hostKeyFingerprint: z.string(),
  }),
})
