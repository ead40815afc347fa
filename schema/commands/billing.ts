import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/**
 * Holds credit for an allocation, sized by billing for a window of use, the notice and the deadline
 * to stop. `INSUFFICIENT_CREDIT` when the balance does not cover it; `CONFLICT` when the
 * allocation has ended already.
 */
export const placeHold = command({
  name: 'holds.place',
  owner: 'billing',
  callers: ['allocations'],
  input: z.strictObject({
    allocationId: idOf('alc'),
    organizationId: idOf('org'),
    gpuModel: z.string().max(80),
    gpuCount: z.int().min(1).max(16),
  }),
  output: z.strictObject({ holdId: idOf('hld') }),
})

/** Gives a hold back when its allocation never ran. Voiding what was settled changes nothing. */
export const voidHold = command({
  name: 'holds.void',
  owner: 'billing',
  callers: ['allocations'],
  input: z.strictObject({ allocationId: idOf('alc'), organizationId: idOf('org') }),
  output: z.strictObject({ voided: z.boolean() }),
})
