import type { GpuModelResolvers } from '../generated/resolvers.ts'

export const GpuModel: GpuModelResolvers = {
  __resolveReference: ({ code }, { load }) => load.gpuModel(code),
}
