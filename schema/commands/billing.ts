import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/** Which run of its allocation this is; 1 is the first. Each run has a hold of its own. */
const run = z.int().min(1)

/**
 * Holds credit for a run of an allocation, sized by billing for a window of use, the notice and the deadline
 * to stop. `INSUFFICIENT_CREDIT` when the balance does not cover it; `CONFLICT` when this run of
 * the allocation has ended already.
 */
export const placeHold = command({
  name: 'holds.place',
  owner: 'billing',
  callers: ['allocations'],
  input: z.strictObject({
    allocationId: idOf('alc'),
    run,
    organizationId: idOf('org'),
    gpuModel: z.string().max(80),
    gpuCount: z.int().min(1).max(16),
  }),
  output: z.strictObject({ holdId: idOf('hld') }),
})

/** Gives a hold back whose run never began. Voiding what was settled changes nothing. */
export const voidHold = command({
  name: 'holds.void',
  owner: 'billing',
  callers: ['allocations'],
  input: z.strictObject({ allocationId: idOf('alc'), run, organizationId: idOf('org') }),
  output: z.strictObject({ voided: z.boolean() }),
})
