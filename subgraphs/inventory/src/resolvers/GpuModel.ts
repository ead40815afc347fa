import type { GpuModelResolvers } from '../generated/resolvers.ts'

export const GpuModel: GpuModelResolvers = {
  // Allocations keep the code that was asked for, which may be none of ours: a null here would take
  // the whole list with it that such a one stands in.
  __resolveReference: async ({ code }, { load }) =>
    (await load.gpuModel(code)) ?? { code, name: code, memoryMib: 0, productNames: [] },
}
