import { createClientAddress } from '@berth/platform/client-address'
import { createCommandClient } from '@berth/platform/commands'
import { createDialGuard } from '@berth/platform/dial-guard'
import { DomainError } from '@berth/platform/errors'
import { startHttp } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import { createLimiter } from '@berth/platform/limiter'
import { createOneTimeTokens } from '@berth/platform/one-time-token'
import { createPeers } from '@berth/platform/peers'
import { createPolicyClient } from '@berth/platform/policy-client'
import { closeRedis, createHints, openRedis } from '@berth/platform/pubsub'
import { createRevocations } from '@berth/platform/revocations'
import { loadKeys } from '@berth/platform/trusted-keys'
import { terminalToken } from '@berth/schema/commands/allocations'
import { policyByCommand } from '@berth/schema/policy-source'
import type { terminalConfig } from './config.ts'
import { createNodes } from './nodes.ts'
import { createSessions } from './sessions.ts'
import { serveTerminals } from './socket.ts'
import { createStandings } from './standings.ts'
import { createTerminals } from './terminals.ts'

const KIBIBYTE = 1_024

/** The whole service. @returns where it listens */
export async function openTerminals(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof terminalConfig>,
): Promise<{ port: number }> {
  const { privateJwk } = loadKeys(config.BERTH_KEYS_DIR, 'terminal')
  const clientAddress = createClientAddress({
    trustedProxies: config.BERTH_TRUSTED_PROXIES,
    isProduction: config.BERTH_ENV === 'production',
  })
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const peers = scope.adopt(createPeers(config.BERTH_PEERS), (it) => it.close())
  const commands = createCommandClient({ service: 'terminal', privateJwk, peers, metrics })
  const source = policyByCommand(commands)
  const revocations = scope.use(
    createRevocations({ hints, read: source.revocations, log, metrics }),
  )
  // Before the standings: what it knows is let go of by the time they ask it.
  const policy = scope.use(createPolicyClient({ source, revocations, log, metrics }))
  const standings = scope.use(createStandings({ commands, policy, revocations, log, metrics }))
  const guard = createDialGuard({
    allowedCidrs: config.NODE_PROBE_ALLOWED_CIDRS,
    exceptions: config.BERTH_DEVELOPMENT_NODE ? [config.BERTH_DEVELOPMENT_NODE] : [],
    production: config.BERTH_ENV === 'production',
  })
  const tokens = createOneTimeTokens<unknown>({ redis, purpose: 'terminal', metrics })
  const limiter = createLimiter({ redis, metrics, log })
  const rate = {
    perMinute: config.BERTH_TERMINAL_RATE_PER_MINUTE,
    burst: config.BERTH_TERMINAL_RATE_BURST,
  }

  const terminals = createTerminals({
    log,
    metrics,
    sessions: createSessions({
      metrics,
      limits: {
        outputWindow: 256 * KIBIBYTE,
        inputWindow: 64 * KIBIBYTE,
        scrollbackBytes: 256 * KIBIBYTE,
        resumeSeconds: config.BERTH_TERMINAL_RESUME_SECONDS,
        idleSeconds: config.BERTH_TERMINAL_IDLE_SECONDS,
        maxSeconds: config.BERTH_TERMINAL_MAX_SECONDS,
        maxSessions: config.BERTH_TERMINAL_MAX_SESSIONS,
        maxSessionsPerUser: config.BERTH_TERMINAL_MAX_SESSIONS_PER_USER,
      },
    }),
    ports: {
      ...createNodes({ commands, dial: guard.connect, log }),
      standings,
      async admit({ address }) {
        const decision = await limiter.take({ class: 'terminal', subject: address }, rate)
        if (decision.allowed) return
        const { retryAfterSeconds } = decision
        throw new DomainError('RATE_LIMITED', 'Too many terminals are being opened: wait.', {
          retryAfterSeconds,
        })
      },
      async takeToken(token) {
        const record = await tokens.take(token)
        return record === null ? null : terminalToken.parse(record)
      },
    },
  })

  const http = await startHttp({
    host: config.HOST,
    port: config.PORT,
    log,
    metrics,
    routes: {},
    ready: { redis: async () => void (await redis.ping()) },
    clientAddress,
    drainSeconds: config.BERTH_DRAIN_SECONDS,
  })
  const socket = serveTerminals({
    http,
    terminals,
    allowedOrigins: config.BERTH_ALLOWED_ORIGINS,
    maxSockets: 2 * config.BERTH_TERMINAL_MAX_SESSIONS,
    log,
  })
  scope.defer(async () => {
    socket.stop()
    const closed = http.close()
    await terminals.drain()
    await socket.close()
    await closed
  })
  return { port: http.port }
}
