import { type ParseArgsConfig, parseArgs } from 'node:util'

/** A flag is missing or wrong; the message says which, and what it should be. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export type Options = {
  readonly supergraph: string
  readonly host: string
  readonly port: number
  /** URLs by subgraph, instead of those of the supergraph. */
  readonly subgraphs: Readonly<Record<string, string>>
  /** URLs for subscriptions by subgraph, instead of those for everything else. */
  readonly subscriptionUrls: Readonly<Record<string, string>>
  /** Lower-case names of headers that subgraphs get as they came. */
  readonly forwardedHeaders: readonly string[]
  /** Null: whoever can reach the gateway may ask. */
  readonly authentication: Authentication | null
  readonly trustedDocuments: string | null
  readonly allowedOrigins: readonly string[]
  /** CIDRs of proxies whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
  /** What one operation may cost at most. */
  readonly maxCost: number
  readonly sharesByHeaders: boolean
  readonly durableStreams: boolean
  readonly maskErrors: boolean
  readonly drainSeconds: number
  readonly logLevel: LogLevel
  readonly isProduction: boolean
}

export type Authentication = {
  readonly keysUrl: string
  readonly issuer: string
  readonly audience: string
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const
type LogLevel = (typeof LOG_LEVELS)[number]

export const HELP = `Serves a federation 2 supergraph: queries, mutations and subscriptions.

  npm run gateway -- --supergraph FILE --port N (--no-authentication | --jwks URL --issuer ISS --audience AUD)

  --supergraph FILE             the supergraph's SDL; what is written there later is served next
  --port N                      0 for any (default 4000)
  --host ADDRESS                to listen at (default 127.0.0.1)

  --subgraph NAME=URL           where a subgraph is, instead of what the SDL says; repeatable
  --subscription-url NAME=URL   where it takes subscriptions over graphql-ws (ws, wss, http or https),
                                instead of its URL; repeatable
  --forward-header NAME         a header that subgraphs get as it came; repeatable (default: none)
  --share-by-headers            answers depend on nothing but the forwarded headers: those who send
                                the same share reads that are on their way, and streams
  --durable-streams             subscription fields that take \`after\` and give a \`cursor\` are
                                resumed by it after a loss
  --mask-errors                 errors of subgraphs with codes that are unknown here are not shown

  --no-authentication           whoever reaches the gateway may ask; refused in production
  --jwks URL                    keys of the issuer of bearer tokens
  --issuer ISS, --audience AUD  what those tokens must say (iss, aud)

  --trusted-documents FILE      a manifest (apollo-persisted-query-manifest, version 1)
  --allowed-origin ORIGIN       of pages that may call from a browser; repeatable
  --max-cost N                  what one operation may cost by @cost and @listSize (default: any)
  --trusted-proxy CIDR          of proxies whose X-Forwarded-For is believed; repeatable
  --drain-seconds N             for what is running when the gateway is stopped (default 10)
  --log-level LEVEL             ${LOG_LEVELS.join(', ')} (default info)
  --help

It is production when NODE_ENV or BERTH_ENV is: then the schema is not shown to anyone.
`

const FLAGS = {
  supergraph: { type: 'string' },
  port: { type: 'string', default: '4000' },
  host: { type: 'string', default: '127.0.0.1' },
  subgraph: { type: 'string', multiple: true, default: [] },
  'subscription-url': { type: 'string', multiple: true, default: [] },
  'forward-header': { type: 'string', multiple: true, default: [] },
  'share-by-headers': { type: 'boolean', default: false },
  'durable-streams': { type: 'boolean', default: false },
  'mask-errors': { type: 'boolean', default: false },
  'no-authentication': { type: 'boolean', default: false },
  jwks: { type: 'string' },
  issuer: { type: 'string' },
  audience: { type: 'string' },
  'trusted-documents': { type: 'string' },
  'allowed-origin': { type: 'string', multiple: true, default: [] },
  'max-cost': { type: 'string' },
  'trusted-proxy': { type: 'string', multiple: true, default: [] },
  'drain-seconds': { type: 'string', default: '10' },
  'log-level': { type: 'string', default: 'info' },
  help: { type: 'boolean', default: false },
} as const satisfies ParseArgsConfig['options']

/**
 * @param env of which `NODE_ENV` and `BERTH_ENV` are read
 * @returns null when help is asked for
 * @throws {UsageError}
 */
export function parseOptions(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Options | null {
  const flags = read(args)
  if (flags.help) return null
  if (flags.supergraph === undefined) throw new UsageError('--supergraph FILE is needed')
  const isProduction = env.NODE_ENV === 'production' || env.BERTH_ENV === 'production'
  return Object.freeze({
    supergraph: flags.supergraph,
    host: flags.host,
    port: whole('--port', flags.port, 65_535),
    subgraphs: urls('--subgraph', flags.subgraph, ['http:', 'https:']),
    subscriptionUrls: urls('--subscription-url', flags['subscription-url'], [
      'ws:',
      'wss:',
      'http:',
      'https:',
    ]),
    forwardedHeaders: flags['forward-header'].map(forwardable),
    authentication: authenticationOf(flags, isProduction),
    trustedDocuments: flags['trusted-documents'] ?? null,
    allowedOrigins: flags['allowed-origin'].map(origin),
    maxCost:
      flags['max-cost'] === undefined
        ? Number.POSITIVE_INFINITY
        : whole('--max-cost', flags['max-cost'], Number.MAX_SAFE_INTEGER),
    trustedProxies: flags['trusted-proxy'],
    sharesByHeaders: flags['share-by-headers'],
    durableStreams: flags['durable-streams'],
    maskErrors: flags['mask-errors'],
    drainSeconds: whole('--drain-seconds', flags['drain-seconds'], 600),
    logLevel: logLevel(flags['log-level']),
    isProduction,
  })
}

function read(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: FLAGS, strict: true, allowPositionals: false })
      .values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

type Flags = ReturnType<typeof read>

function authenticationOf(flags: Flags, isProduction: boolean): Authentication | null {
  const { jwks, issuer, audience } = flags
  const given = [jwks, issuer, audience].filter((it) => it !== undefined).length
  if (flags['no-authentication']) {
    if (given > 0)
      throw new UsageError('--no-authentication does not go with --jwks, --issuer and --audience')
    if (isProduction) throw new UsageError('--no-authentication is refused in production')
    return null
  }
  if (jwks === undefined || issuer === undefined || audience === undefined) {
    throw new UsageError(
      given === 0
        ? 'Who may ask? --jwks URL --issuer ISS --audience AUD, or --no-authentication'
        : '--jwks, --issuer and --audience are needed together',
    )
  }
  return { keysUrl: url('--jwks', jwks, ['http:', 'https:']), issuer, audience }
}

/** Those that belong to one connection or one body, and those that the gateway sets itself. */
const OWN_HEADERS = new Set([
  ...['connection', 'keep-alive', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding'],
  ...['upgrade', 'host', 'content-length', 'content-type', 'content-encoding', 'expect'],
  ...['accept', 'accept-encoding', 'x-request-id', 'traceparent', 'idempotency-key'],
])

function forwardable(name: string): string {
  const lower = name.toLowerCase()
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(lower)) {
    throw new UsageError(`--forward-header ${name}: not a header’s name`)
  }
  if (OWN_HEADERS.has(lower) || lower.startsWith('sec-websocket-')) {
    throw new UsageError(
      `--forward-header ${name}: this one is of the connection, or set by the gateway`,
    )
  }
  return lower
}

function urls(flag: string, given: readonly string[], protocols: readonly string[]) {
  const found: Record<string, string> = Object.create(null)
  for (const it of given) {
    const at = it.indexOf('=')
    if (at < 1) throw new UsageError(`${flag} ${it}: must be NAME=URL`)
    const name = it.slice(0, at)
    if (name in found) throw new UsageError(`${flag} ${name} is given twice`)
    found[name] = url(`${flag} ${name}`, it.slice(at + 1), protocols)
  }
  return found
}

function url(flag: string, text: string, protocols: readonly string[]): string {
  const parsed = URL.parse(text)
  if (parsed && protocols.includes(parsed.protocol)) return text
  const allowed = protocols.map((it) => `${it}//`).join(', ')
  throw new UsageError(`${flag}: ${text} is not a URL that begins with ${allowed}`)
}

function origin(text: string): string {
  if (URL.parse(text)?.origin === text) return text
  throw new UsageError(`--allowed-origin ${text}: must be as a browser sends it, https://host`)
}

function whole(flag: string, text: string, max: number): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  if (value <= max) return value
  throw new UsageError(`${flag} ${text}: must be a whole number from 0 to ${max}`)
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((it) => it === text)
  if (level) return level
  throw new UsageError(`--log-level ${text}: must be one of ${LOG_LEVELS.join(', ')}`)
}
