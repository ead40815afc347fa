import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import type { SlotResolvers } from '../generated/resolvers.ts'

export const Slot: SlotResolvers = {
  __resolveReference: ({ id }, { load }) => load.slot(idToUuid(parseId('slt', id))),
  id: ({ id }) => uuidToId('slt', id),
  gpuModel: async ({ gpuModelCode }, _args, { load }) => (await load.gpuModel(gpuModelCode))!,
}
