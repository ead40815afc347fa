import { toMoney } from '@berth/platform/money'
import type { GpuModelResolvers } from '../generated/resolvers.ts'

export const GpuModel: GpuModelResolvers = {
  __resolveReference: ({ code }) => ({ code }),
  pricePerHour: async ({ code }, _args, { load }) => {
    const price = await load.price(code)
    return price && toMoney(price.perHourMicros, price.currency)
  },
}
