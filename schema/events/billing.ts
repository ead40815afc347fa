import { event } from '@berth/platform/contract'
import { z } from 'zod'

/** An organization's credit no longer refills a hold of what it runs: that must stop. */
export const balanceDepleted = event({
  domain: 'billing',
  aggregate: 'account',
  verb: 'depleted',
  version: 1,
  data: z.strictObject({ currency: z.string().length(3) }),
})
