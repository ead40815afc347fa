import type { RegionResolvers } from '../generated/resolvers.ts'

export const Region: RegionResolvers = {
  __resolveReference: ({ code }, { load }) => load.region(code),
}
