import { z } from 'zod'

/** Some variables are missing or malformed; the message names every one, and never a value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The environment as one frozen, typed object.
 *
 * @param shape a zod schema per variable; an empty variable counts as unset
 * @throws {ConfigError} that reports every bad variable at once
 */
export function loadConfig<S extends z.ZodRawShape>(
  shape: S,
  env: Environment = process.env,
): Readonly<z.output<z.ZodObject<S>>> {
  const given = Object.fromEntries(
    Object.keys(shape).map((name) => [name, env[name] === '' ? undefined : env[name]]),
  )
  const parsed = z.object(shape).safeParse(given)
  const problems = parsed.success
    ? []
    : parsed.error.issues.map(({ path, message }) => {
        const name = String(path[0])
        return given[name] === undefined ? `${name} is not set` : `${name}: ${message}`
      })
  if (given.BERTH_ENV === 'production' && given.BERTH_DEVELOPMENT_NODE !== undefined) {
    problems.push('BERTH_DEVELOPMENT_NODE: must not be set in production')
  }
  if (!parsed.success || problems.length > 0) {
    throw new ConfigError(`Bad configuration:\n  ${[...new Set(problems)].join('\n  ')}`)
  }
  return Object.freeze(parsed.data)
}

/** Comma-separated texts. */
export const list = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  )

const peers = z
  .string()
  .default('{}')
  .transform((text, context) => {
    try {
      return z
        .record(z.string(), z.array(z.url({ protocol: /^https?$/ })).min(1))
        .parse(JSON.parse(text))
    } catch {
      context.addIssue('must be JSON {"<service>": ["http://host:port", …], …}')
      return z.NEVER
    }
  })

/** The variables of every service: `loadConfig({ ...serviceConfig, MY_URL: z.url() })`. */
export const serviceConfig = {
  BERTH_SERVICE: z.string().regex(/^[a-z][a-z-]*$/, 'must be a service’s name'),
  BERTH_INSTANCE: z.string().max(64),
  BERTH_ENV: z.enum(['development', 'test', 'production']),
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).max(65_535),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }),
  NATS_URL: z.url({ protocol: /^(nats|tls)$/ }),
  BERTH_KEYS_DIR: z.string(),
  BERTH_PEERS: peers,
  BERTH_DRAIN_SECONDS: z.coerce.number().min(0).max(600).default(10),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  /** The one loopback host:port that may be dialled; refused in production. */
  BERTH_DEVELOPMENT_NODE: z
    .string()
    .regex(/^[\w.-]+:\d+$/, 'must be host:port')
    .optional(),
  NODE_PROBE_ALLOWED_CIDRS: list,
} as const

/** Those of a subgraph, which alone has a database: the URL of its domain's `<domain>_app` role. */
export const subgraphConfig = {
  ...serviceConfig,
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
} as const

export type ServiceConfig = Readonly<z.output<z.ZodObject<typeof serviceConfig>>>
export type SubgraphConfig = Readonly<z.output<z.ZodObject<typeof subgraphConfig>>>
