import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import type { NodeResolvers } from '../generated/resolvers.ts'

export const Node: NodeResolvers = {
  __resolveReference: ({ id }, { load }) => load.node(idToUuid(parseId('nod', id))),
  id: ({ id }) => uuidToId('nod', id),
  region: async ({ regionCode }, _args, { load }) => (await load.region(regionCode))!,
  slots: async ({ id }, _args, { load }) => (await load.slotsOf(id)) ?? [],
  lastProbe: ({ id }, _args, { load }) => load.lastProbe(id),
}
