import type { OfferResolvers } from '../generated/resolvers.ts'

export const Offer: OfferResolvers = {
  __resolveReference: ({ id }, { load }) => load.offer(id),
  gpuModel: async ({ gpuModelCode }, _args, { load }) => (await load.gpuModel(gpuModelCode))!,
  region: async ({ regionCode }, _args, { load }) => (await load.region(regionCode))!,
}
