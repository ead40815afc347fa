import { uuidToId } from '@berth/platform/ids'
import type { ProbeResolvers } from '../generated/resolvers.ts'

export const Probe: ProbeResolvers = {
  id: ({ id }) => uuidToId('prb', id),
}
