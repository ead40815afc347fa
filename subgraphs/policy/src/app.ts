import { readFileSync } from 'node:fs'
import { openBus } from '@berth/platform/bus'
import { type Clock, systemClock } from '@berth/platform/clock'
import { createEnvelope } from '@berth/platform/envelope'
import type { Routes } from '@berth/platform/http'
import { localFileKek } from '@berth/platform/kek'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { keepPartitions } from '@berth/platform/partitions'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { startRelay } from '@berth/platform/relay'
import { createRevocations as createRevocationFeed } from '@berth/platform/revocations'
import { startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import { apiKeyEnvironment } from '@berth/schema/api-key'
import { createCommands } from './commands.ts'
import type { PolicyConfig } from './config.ts'
import { createContext } from './context.ts'
import { openPolicyDatabase } from './database.ts'
import { openAudit } from './open-audit.ts'
import { openDecisions } from './open-decisions.ts'
import { resolvers } from './resolvers/index.ts'
import { keepSwept } from './retention.ts'
import { followRevocations } from './revocation-follower.ts'
import { rules } from './rules.ts'
import { createApiKeys } from './service/api-keys.ts'
import { type Certificates, createCertificates } from './service/certificates.ts'
import { createDirectory } from './service/directory.ts'
import { createInvitations } from './service/invitations.ts'
import { createMemberships } from './service/memberships.ts'
import { createPersonStanding } from './service/person-standing.ts'
import { createPolicies } from './service/policies.ts'
import { createPolicyChanges } from './service/policy-changes.ts'
import { createPolicyViews } from './service/policy-views.ts'
import { createPresentApiKey } from './service/present-api-key.ts'
import { createRevocations } from './service/revocations.ts'
import { createRulesDryRun } from './service/rules-dry-run.ts'
import { createSecrets } from './service/secrets.ts'
import { createSessions } from './service/sessions.ts'
import { createSigningKeys } from './service/signing-keys.ts'
import { createSuspensions } from './service/suspensions.ts'
import { createDirectoryStore } from './store/directory.ts'

const typeDefs = readFileSync(new URL(import.meta.resolve('@berth/schema/policy.graphql')), 'utf8')

type Options = { config: PolicyConfig; log: Log; metrics: Metrics; clock?: Clock }

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

  const store = createDirectoryStore(database)
  const directory = createDirectory(store)
  const policies = createPolicies({ database, hints })
  const envelope = createEnvelope(localFileKek(() => keys.keks))
  const certificates = createCertificates({ database, envelope, clock, log })
  await policies.ensureDefaults()
  await certificates.ensureAuthorities()
  const secrets = createSecrets({ database, envelope })
  await secrets.ensurePepper()

  const revocations = createRevocations(database)
  const sessions = createSessions({ database, envelope })
  const signingKeys = createSigningKeys({ database, clock })
  const { decisions, engine, policyDecisions } = openDecisions({
    config,
    database,
    clock,
    log,
    metrics,
    scope,
  })
  const { auditTrail, ...audit } = openAudit({ database, keys, clock, log, metrics, scope })
  const commands = createCommands({
    auditTrail,
    certificates,
    decisions,
    directory,
    personStanding: createPersonStanding({ store, sql: database.sql }),
    policies,
    presentApiKey: createPresentApiKey({ database, secrets, clock, log }),
    revocations,
    sessions,
    signingKeys,
  })
  const feed = scope.use(
    createRevocationFeed({
      hints,
      read: (after) => revocations.read({ after, limit: 1_000 }),
      log,
      metrics,
      clock,
    }),
  )
  const source = { values: policies.read, ...decisions }
  const policy = scope.use(createPolicyClient({ source, revocations: feed, log, metrics, clock }))
  const policyChanges = createPolicyChanges({
    database,
    policy,
    hints,
    validateRules: engine.validate,
  })
  followRevocations({ database, revocations, hints, log, scope })
  keepSwept({ sql: database.sql, log, scope })
  const ports = {
    ...audit,
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
    policyChanges,
    policyDecisions,
    policyViews: createPolicyViews({ database, policy }),
    rulesDryRun: createRulesDryRun({ sql: database.sql, engine, decisions, policy }),
    sessions,
    signingKeys,
    suspensions: createSuspensions({ database, clock }),
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
  return { ...server, auditTrail, certificates, database, policies, policyChanges, sessions }
}

/** What a node's sshd must trust: public keys, for whoever asks. */
function authorityRoutes(certificates: Certificates): Routes {
  return {
    'GET /ssh/authorities': async (_request, reply) =>
      reply.json(200, await certificates.authorityKeys()),
  }
}
