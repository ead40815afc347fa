import { idToUuid, parseId } from '@berth/platform/ids'
import { toMoney } from '@berth/platform/money'
import { CURRENCY } from '../config.ts'
import type { AllocationResolvers } from '../generated/resolvers.ts'

export const Allocation: AllocationResolvers = {
  // Another organization's allocation has no records here, and so costs nothing.
  __resolveReference: ({ id }) => ({ id: parseId('alc', id) }),
  cost: async ({ id }, _args, { load }) =>
    toMoney((await load.allocationCost(idToUuid(id))) ?? 0n, CURRENCY),
}
