import { subgraphConfig } from '@berth/platform/config'
import { z } from 'zod'

const seconds = z.coerce.number().int().min(1).max(86_400)

export const billingConfig = {
  ...subgraphConfig,
  /** The least that a window of use lasts. 60; 10 outside of production. */
  METER_SECONDS: seconds.optional(),
  /**
   * For a notice between the news that credit ends and the stop. There is none today: allocations
   * releases at once what the organization has, so this part of the hold pays for the news' way
   * through the bus, and for whatever keeps allocations from hearing it.
   */
  HOLD_NOTICE_SECONDS: seconds.default(60),
  /** The longest that a stop takes. */
  HOLD_STOP_SECONDS: seconds.default(180),
  /** After which a hold lapses whose allocation never ran. */
  HOLD_LAPSE_SECONDS: seconds.default(3_600),
  /** What a new organization is given. Nothing; 100 USD outside of production. */
  BERTH_STARTER_CREDIT_MICROS: z
    .string()
    .regex(/^\d{1,15}$/, 'must be whole micro-units')
    .transform(BigInt)
    .optional(),
} as const

/** How late use is posted, so that an end on its way through the bus needs no reversal. */
export const SETTLE_SECONDS = 5

/** The one currency that is priced. */
export const CURRENCY = 'USD'
