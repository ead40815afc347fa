import type { RegionResolvers } from '../generated/resolvers.ts'

export const Region: RegionResolvers = {
  // As of a GPU model: a code that is none of ours is shown as it is.
  __resolveReference: async ({ code }, { load }) =>
    (await load.region(code)) ?? { code, name: code },
}
