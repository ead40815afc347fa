/**
 * A subgraph of one entity, with rules or without: `node subgraph.ts guarded|open PORT KEYS_DIR`.
 * All else is as every subgraph has it.
 */
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPolicyClient } from '@berth/platform/policy-client'
import { startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { feed, resolvers, SDL, source, type Variant, variants } from './entities.ts'

const SERVICE = 'allocations'

const [variant = '', port = '', keysDir = ''] = process.argv.slice(2)
const log = createLog({ service: SERVICE, instance: variant, level: 'warn' })
const metrics = createMetrics({ service: SERVICE })
const policy = createPolicyClient({ source, revocations: feed, log, metrics })
await startSubgraph({
  config: {
    BERTH_SERVICE: SERVICE,
    BERTH_ENV: 'production',
    BERTH_DRAIN_SECONDS: 1,
    HOST: '127.0.0.1',
    PORT: Number(port),
  },
  keys: loadKeys(keysDir, SERVICE),
  log,
  metrics,
  typeDefs: SDL,
  resolvers,
  rules: variants[variant as Variant],
  context: (request) => ({ ...request, policy }),
  scope: new AsyncDisposableStack(),
})
console.log('ready')
