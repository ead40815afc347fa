import path from 'node:path'
import { nodeAccountName } from '../servers/account.ts'
import type { Kind } from '../servers/start-servers.ts'
import type { DomainUrls } from './database.ts'
import type { Service } from './manifests.ts'

/** One process of a service. */
export type Instance = {
  readonly service: Service
  /** `inventory`, `inventory-2`, …: of its process, log and pid file. */
  readonly name: string
  /** `inventory-1`, `inventory-2`, … */
  readonly id: string
  readonly port: number
}

export type Surroundings = {
  readonly state: string
  readonly keys: string
  readonly instances: readonly Instance[]
  readonly servers: Record<Kind, string>
  readonly databases: Readonly<Record<string, DomainUrls>>
  readonly development: boolean
  /** Of whoever starts the platform. */
  readonly inherited: NodeJS.ProcessEnv
  /** Wins over everything. */
  readonly overrides: NodeJS.ProcessEnv
}

/** What a person may set for every service by starting the platform with it. */
const SETTINGS = [
  'LOG_LEVEL',
  'BERTH_HOME',
  'BERTH_DRAIN_SECONDS',
  'BERTH_STARTER_CREDIT_MICROS',
  'BERTH_ALLOWED_ORIGINS',
  'BERTH_TRUSTED_PROXIES',
  'BERTH_MAX_COST',
  'BERTH_CONNECTIONS',
  'BERTH_CONNECTIONS_PER_ADDRESS',
  'BERTH_CONNECTIONS_PER_ACTOR',
  'BERTH_CONNECTIONS_PER_ORGANIZATION',
  'BERTH_TRUSTED_DOCUMENTS',
  'NODE_PROBE_ALLOWED_CIDRS',
  'OIDC_ISSUER',
  'OIDC_AUDIENCE',
  'BERTH_ISSUER_KEYS_STALE_SECONDS',
  'BERTH_BREAK_GLASS_SECRET',
  'OIDC_CLIENT_ID',
  'OIDC_CLIENT_SECRET',
  'OIDC_SCOPES',
  'BERTH_PUBLIC_URL',
  'BERTH_SESSION_IDLE_SECONDS',
  'BERTH_SESSION_SECONDS',
  'BERTH_SESSION_REFRESH_SECONDS',
  'BERTH_POLICY_ENGINE',
  'BERTH_OPA_URL',
]

const DRAIN_SECONDS = '10'

/** The environment of one process: everything it is configured by. */
export function environmentOf(instance: Instance, around: Surroundings): NodeJS.ProcessEnv {
  const { service, id, port } = instance
  const { state, keys, instances, servers, databases, development, inherited } = around
  const addressOf = (of: string) => {
    const found = instances.find(({ service }) => service.name === of)
    return found && `127.0.0.1:${found.port}`
  }
  const issuer = addressOf('issuer')
  const node = addressOf('development-node')
  const terminal = addressOf('terminal')
  const gatewayPort = instances.find(({ service }) => service.name === 'gateway')?.port
  const origins = ['127.0.0.1', 'localhost'].map((host) => `http://${host}:${gatewayPort}`)
  const database = service.domain && databases[service.domain]
  const settings = SETTINGS.filter((setting) => inherited[setting])
  return {
    ...foreign(inherited),
    NODE_ENV: 'production', // Libraries are to behave as they do there; BERTH_ENV is ours.
    APOLLO_TELEMETRY_DISABLED: 'true',
    BERTH_SERVICE: service.name,
    BERTH_INSTANCE: id,
    BERTH_ENV: development ? 'development' : 'production',
    HOST: '127.0.0.1',
    PORT: String(port),
    ...(database ? { DATABASE_URL: database.app } : {}),
    REDIS_URL: servers.redis,
    NATS_URL: servers.nats,
    BERTH_KEYS_DIR: keys,
    BERTH_PEERS: JSON.stringify(peersOf(instances)),
    BERTH_DRAIN_SECONDS: DRAIN_SECONDS,
    ...(service.development ? { BERTH_STATE_DIR: path.join(state, service.name) } : {}),
    ...(development && node
      ? { BERTH_DEVELOPMENT_NODE: node, BERTH_ACCOUNT: nodeAccountName() }
      : {}),
    ...(issuer ? { OIDC_ISSUER: `http://${issuer}`, OIDC_AUDIENCE: 'berth' } : {}),
    ...(development && issuer && gatewayPort && !inherited.OIDC_ISSUER
      ? browserClient(gatewayPort)
      : {}),
    ...(terminal ? { TERMINAL_URL: `ws://${terminal}/terminal` } : {}),
    BERTH_ALLOWED_ORIGINS: origins.join(','),
    ...Object.fromEntries(settings.map((setting) => [setting, inherited[setting]])),
    ...around.overrides,
  }
}

/**
 * The gateway as a client of the development issuer, which signs anybody in: this secret keeps nothing
 * from anyone.
 */
function browserClient(gatewayPort: number): NodeJS.ProcessEnv {
  return {
    OIDC_CLIENT_ID: 'berth-browser',
    OIDC_CLIENT_SECRET: 'development-only',
    BERTH_PUBLIC_URL: `http://127.0.0.1:${gatewayPort}`,
  }
}

/** Where each service's replicas are. */
export function peersOf(instances: readonly Instance[]): Record<string, string[]> {
  const peers: Record<string, string[]> = {}
  for (const { service, port } of instances) {
    if (service.development) continue
    peers[service.name] = [...(peers[service.name] ?? []), `http://127.0.0.1:${port}`]
  }
  return peers
}

/** What is not ours is passed on, but no administrator's way into the database and no test runner. */
function foreign(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) => !/^(PG|npm_|VITEST|TURBO_|BERTH_)|DATABASE_URL$|^(REDIS|NATS)_URL$/.test(name),
  )
  return Object.fromEntries(kept)
}
