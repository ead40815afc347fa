import { type Bindings, type DestinationStream, type Logger, pino } from 'pino'

/** Structured log; a child carries `requestId`. Fields first, then a fixed message. */
export type Log = Logger

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

const REDACTED = '[redacted]'
const MAX_DEPTH = 6

/**
 * JSON lines on standard output. Fields are redacted by their name at any depth, and what looks
 * like a token or a private key wherever it stands, in messages and stacks as well.
 *
 * @param destination for tests
 */
export function createLog({
  service,
  instance,
  level = 'info',
  destination,
}: {
  service: string
  instance: string
  level?: LogLevel
  destination?: DestinationStream
}): Log {
  const options = {
    level,
    base: { service, instance },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: redactFields,
    },
    hooks: { streamWrite: scrub },
  }
  // Synchronous: the last lines before an exit are those that matter, and in their order.
  const log: Log = pino(options, destination ?? pino.destination({ fd: 1, sync: true }))
  // Formatters do not see what a child is made with. Its own children inherit this method.
  const { child } = log
  log.child = function redacted(this: Log, fields: Bindings, ...rest: []) {
    return child.call(this, redactFields(fields), ...rest)
  } as typeof log.child
  return log
}

/** Most fields are named in code, and so few; those of what is logged whole may be anything. */
const MAX_KNOWN_NAMES = 1_000
const knownNames = new Map<string, boolean>()

/** Whether a field of this name is kept out of logs. */
export function isSecretName(name: string): boolean {
  const known = knownNames.get(name)
  if (known !== undefined) return known
  const isSecret = saysSecret(name)
  if (knownNames.size < MAX_KNOWN_NAMES) knownNames.set(name, isSecret)
  return isSecret
}

function saysSecret(name: string): boolean {
  const words = name
    .split(/(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+/)
    .map((word) => word.toLowerCase())
  const last = words.at(-1) ?? ''
  return SECRET_WORD.test(last) || SECRET_ENDING.test(last) || words.join('-') === 'berth-actor'
}

const SECRET_WORD = /^(keys?|jwk|enc|assertion)$/
const SECRET_ENDING = /(authorization|cookie|token|password|passphrase|secret|credential)s?$/

function redactFields(fields: Bindings): Bindings {
  return redact(fields, 0) as Bindings
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') return value.toString()
  // Errors, dates and the like say themselves how they are written.
  if (typeof value !== 'object' || value === null || !isPlain(value)) return value
  if (depth >= MAX_DEPTH) return '[deep]'
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1))
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      isSecretName(name) && field !== null && field !== undefined
        ? REDACTED
        : redact(field, depth + 1),
    ]),
  )
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || Array.isArray(value)
}

/** JSON Web Tokens, API keys, invitations, headers of credentials, private keys, passwords in URLs. */
const TOKENS =
  /(?:\b|(?<=\\[nrt]))(?:eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?:Bearer|Basic)\s+[\w.~+/=-]{8,})|berth_(?:live|dev|test)_[0-9A-Za-z]{20,}_\w+|berthinvite_\w{8,}|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=")|$)|(?<=:\/\/[^\s:@/"]*:)[^\s@/"]+(?=@)/g

/** Works on the finished line, so that nothing gets past it. */
function scrub(line: string): string {
  return line.replace(TOKENS, REDACTED)
}
