import type { TerminalSessionResolvers } from '../generated/resolvers.ts'
import { notFound } from '../service/release.ts'

export const TerminalSession: TerminalSessionResolvers = {
  allocation: async ({ allocationId }, _args, { entities }) => {
    const allocation = await entities.allocation(allocationId)
    if (!allocation) throw notFound(allocationId)
    return allocation
  },
}
