import { readFileSync } from 'node:fs'
import { openBus } from '@berth/platform/bus'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { SubgraphConfig } from '@berth/platform/config'
import { createEnvelope } from '@berth/platform/envelope'
import type { Routes } from '@berth/platform/http'
import { localFileKek } from '@berth/platform/kek'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { keepPartitions } from '@berth/platform/partitions'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { startRelay } from '@berth/platform/relay'
import { startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { apiKeyEnvironment } from '@berth/schema/api-key'
import { createCommands } from './commands.ts'
import { createContext } from './context.ts'
import { openPolicyDatabase } from './database.ts'
import { resolvers } from './resolvers/index.ts'
import { followRevocations } from './revocation-follower.ts'
import { rules } from './rules.ts'
import { createApiKeys } from './service/api-keys.ts'
import { type Certificates, createCertificates } from './service/certificates.ts'
import { createDirectory } from './service/directory.ts'
import { createInvitations } from './service/invitations.ts'
import { createMemberships } from './service/memberships.ts'
import { createPolicies } from './service/policies.ts'
import { createPresentApiKey } from './service/present-api-key.ts'
import { createRevocations } from './service/revocations.ts'
import { createSecrets } from './service/secrets.ts'
import { createSessions } from './service/sessions.ts'
import { keepSessionsSwept } from './session-sweeper.ts'
import { createDirectoryStore } from './store/directory.ts'

const typeDefs = readFileSync(new URL(import.meta.resolve('@berth/schema/policy.graphql')), 'utf8')

type Options = { config: SubgraphConfig; log: Log; metrics: Metrics; clock?: Clock }

/** Builds the whole service, and starts it; the scope's disposal ends it. */
export async function openPolicy(
  scope: AsyncDisposableStack,
  { config, log, metrics, clock = systemClock }: Options,
) {
  const keys = loadKeys(config.BERTH_KEYS_DIR, config.BERTH_SERVICE)
  const database = scope.adopt(openPolicyDatabase(config.DATABASE_URL), (it) => it.close())
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const bus = scope.adopt(
    openBus({ url: config.NATS_URL, name: config.BERTH_INSTANCE, log }),
    (it) => it.close(),
  )
  await keepPartitions({ sql: database.sql, log, scope })

  const directory = createDirectory(createDirectoryStore(database))
  const policies = createPolicies({ database, hints })
  const envelope = createEnvelope(localFileKek(keys.keks))
  const certificates = createCertificates({ database, envelope, clock, log })
  await policies.ensureDefaults()
  await certificates.ensureAuthorities()
  const secrets = createSecrets({ database, envelope })
  await secrets.ensurePepper()

  const revocations = createRevocations(database)
  const sessions = createSessions({ database, envelope })
  const commands = createCommands({
    certificates,
    directory,
    policies,
    presentApiKey: createPresentApiKey({ database, secrets, clock, log }),
    revocations,
    sessions,
  })
  const policy = scope.use(createPolicyClient({ read: policies.read, hints, log, clock }))
  followRevocations({ database, revocations, hints, log, scope })
  keepSessionsSwept({ sql: database.sql, log, scope })
  const ports = {
    apiKeys: createApiKeys({
      database,
      policy,
      secrets,
      environment: apiKeyEnvironment(config.BERTH_ENV),
      clock,
    }),
    directory,
    invitations: createInvitations({ database, envelope, secrets, clock }),
    memberships: createMemberships({ database, policy, clock }),
    policy,
    sessions,
  }
  startRelay({ database, domain: 'policy', bus, hints, log, metrics, scope })
  const server = await startSubgraph({
    config,
    keys,
    log,
    metrics,
    typeDefs,
    resolvers,
    rules,
    context: (request) => createContext(request, { ...ports, clock }),
    commands,
    routes: authorityRoutes(certificates),
    ready: { postgres: database.ping },
    scope,
    clock,
  })
  return { ...server, certificates, database, policies, sessions }
}

/** What a node's sshd must trust: public keys, for whoever asks. */
function authorityRoutes(certificates: Certificates): Routes {
  return {
    'GET /ssh/authorities': async (_request, reply) =>
      reply.json(200, await certificates.authorityKeys()),
  }
}
