import { event } from '@berth/platform/contract'
import { z } from 'zod'

/** An organization's available credit reached zero: what it runs must stop. */
export const balanceDepleted = event({
  domain: 'billing',
  aggregate: 'account',
  verb: 'depleted',
  version: 1,
  data: z.strictObject({ currency: z.string().length(3) }),
})
