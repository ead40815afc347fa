import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import { toMoney } from '@berth/platform/money'
import type { UsageRecordResolvers } from '../generated/resolvers.ts'

export const UsageRecord: UsageRecordResolvers = {
  __resolveReference: ({ id }, { load }) => load.usageRecord(idToUuid(parseId('usg', id))),
  id: ({ id }) => uuidToId('usg', id),
  allocation: ({ allocationId }) => ({ id: uuidToId('alc', allocationId) }),
  gpuModel: ({ gpuModelCode }) => ({ code: gpuModelCode }),
  gpuSeconds: ({ gpuSeconds }) => Number(gpuSeconds),
  cost: ({ costMicros, currency }) => toMoney(costMicros, currency),
}
