import { event } from '@berth/platform/contract'
import { z } from 'zod'

export const nodeStates = [
  'ENROLLING',
  'READY',
  'CORDONED',
  'DRAINING',
  'UNREACHABLE',
  'RETIRED',
] as const
export const nodeHealths = ['HEALTHY', 'WARNING', 'FAILURE'] as const

/** A node's state or health is another from now on. */
export const nodeChanged = event({
  domain: 'inventory',
  aggregate: 'node',
  verb: 'changed',
  version: 1,
  data: z.strictObject({ state: z.enum(nodeStates), health: z.enum(nodeHealths) }),
})
