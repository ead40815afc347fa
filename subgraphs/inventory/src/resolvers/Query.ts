import { idToUuid, parseId } from '@berth/platform/ids'
import type { QueryResolvers } from '../generated/resolvers.ts'

export const Query: QueryResolvers = {
  offers: (_root, args, { reads }) => reads.offers(args),
  gpuModels: (_root, _args, { reads }) => reads.gpuModels(),
  node: (_root, { id }, { load }) => load.node(idToUuid(parseId('nod', id))),
  nodes: (_root, args, { reads }) => reads.nodes(args),
}
