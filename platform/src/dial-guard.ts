import { lookup } from 'node:dns/promises'
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { cidrsOf, contains } from './cidrs.ts'
import { DomainError } from './errors.ts'

export type DialGuardOptions = {
  /**
   * `node`: only addresses in `allowedCidrs`. `tenant-webhook`: public addresses too.
   * Default `node`.
   */
  profile?: 'node' | 'tenant-webhook'
  /** CIDRs; a private address counts only through a CIDR that lies wholly in private space. */
  allowedCidrs: readonly string[]
  /** Exact `address:port` pairs dialed although their address is refused: the development node. */
  exceptions?: readonly string[]
  production: boolean
  /** Every address of a name. Default: the system's resolver. */
  resolve?: (host: string) => Promise<readonly string[]>
  /** Opens a connection to a checked address. Default: TCP. */
  dial?: Dial
}

type Dial = (address: string, port: number, timeoutMs: number) => Promise<Socket>

export type DialGuard = {
  /**
   * The addresses that may be dialed for this target, all of them checked.
   *
   * @throws {DomainError} BAD_TARGET, the same whether a name is unknown or its address forbidden
   */
  check(host: string, port: number): Promise<readonly string[]>
  /**
   * Resolves once, checks every address, connects to a checked one.
   *
   * @throws {DomainError} BAD_TARGET as `check`; TIMEOUT or UPSTREAM_UNAVAILABLE when nothing answers
   */
  connect(host: string, port: number, options: { timeoutMs: number }): Promise<Socket>
}

/**
 * The one door to addresses that people name: probes, drivers, terminals, webhooks.
 *
 * @throws {RangeError} on a malformed CIDR or exception, or on any exception in production
 */
export function createDialGuard(options: DialGuardOptions): DialGuard {
  const isAllowed = allowedBy(options)
  const exceptions = new Set(options.exceptions ?? [])
  if (options.production && exceptions.size > 0) {
    throw new RangeError('exceptions of the dial guard are for development: remove them')
  }
  for (const exception of exceptions) {
    if (isIP(exception.replace(/:\d+$/, '')) === 0) {
      throw new RangeError(`${exception} is not an exact address:port`)
    }
  }
  const { resolve = resolveBySystem, dial = dialTcp } = options

  async function check(host: string, port: number): Promise<readonly string[]> {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw refuse('port out of range')
    if (exceptions.has(`${host}:${port}`)) return [host]
    if (isIP(host) === 0 && !isName(host)) throw refuse('neither a name nor a plain address')
    const addresses = isIP(host) === 0 ? await resolveOrRefuse(resolve, host) : [host]
    // One refused address condemns the name: which one would be dialed is its owner's choice.
    for (const address of addresses) {
      if (!isAllowed(address)) throw refuse(`${address} is not allowed`)
    }
    return addresses
  }

  async function connect(host: string, port: number, { timeoutMs }: { timeoutMs: number }) {
    const addresses = await check(host, port)
    const deadline = Date.now() + timeoutMs
    let last: unknown
    for (const address of addresses) {
      try {
        return await dial(address, port, Math.max(1, deadline - Date.now()))
      } catch (error) {
        last = error
        if (Date.now() >= deadline) break
      }
    }
    throw last
  }

  return { check, connect }
}

/** The same words for every refusal: what is there, or is not, is nobody's to learn. */
function refuse(reason: string, cause?: unknown): DomainError {
  return new DomainError(
    'BAD_TARGET',
    'This host and port may not be dialed. Use an address that the operator has allowed.',
    { cause: new Error(reason, { cause }) },
  )
}

async function resolveOrRefuse(
  resolve: (host: string) => Promise<readonly string[]>,
  host: string,
) {
  try {
    const addresses = await resolve(host)
    if (addresses.length > 0 && addresses.every((address) => isIP(address) !== 0)) return addresses
  } catch (cause) {
    throw refuse('the name does not resolve', cause)
  }
  throw refuse('the name has no address')
}

async function resolveBySystem(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true, verbatim: true })
  return found.map((it) => it.address)
}

/**
 * A host name of letters, digits, hyphens and dots, that no resolver can take for an address: its
 * last label must begin with a letter and not with 0x, so that 127.1, 0177.0.0.1 and 2130706433
 * are refused.
 */
function isName(host: string): boolean {
  if (host.length > 253) return false
  const labels = host.replace(/\.$/, '').split('.')
  const isLabel = (label: string) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/i.test(label)
  const last = labels.at(-1) ?? ''
  return labels.every(isLabel) && /^[a-z]/i.test(last)
}

function dialTcp(address: string, port: number, timeoutMs: number): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = connectSocket({ host: address, port, noDelay: true })
    const timer = setTimeout(() => {
      socket.destroy()
      fail(new DomainError('TIMEOUT', 'The host did not answer in time.'))
    }, timeoutMs)
    socket.once('connect', () => {
      clearTimeout(timer)
      done(socket)
    })
    // Stays after the connection: an unheard error event would end the process.
    socket.on('error', (cause) => {
      clearTimeout(timer)
      fail(new DomainError('UPSTREAM_UNAVAILABLE', 'The host does not answer.', { cause }))
    })
  })
}

/** Never dialed, whatever is allowed (IANA special-purpose registries; cloud metadata services). */
const FORBIDDEN = [
  '0.0.0.0/8', // Unspecified, "this network".
  '127.0.0.0/8', // Loopback.
  '169.254.0.0/16', // Link-local, with the usual metadata service.
  '192.0.0.0/24', // Protocol assignments; a metadata service.
  '192.0.2.0/24', // Documentation.
  '192.88.99.0/24', // 6to4 relays.
  '198.18.0.0/15', // Benchmarks.
  '198.51.100.0/24', // Documentation.
  '203.0.113.0/24', // Documentation.
  '224.0.0.0/4', // Multicast.
  '240.0.0.0/4', // Reserved, broadcast.
  '100.100.100.200/32', // A metadata service within shared space.
  '168.63.129.16/32', // A metadata service within public space.
  '2001::/23', // Protocol assignments: Teredo and other IPv4 in IPv6.
  '2001:db8::/32', // Documentation.
  '2002::/16', // 6to4: IPv4 in IPv6.
  '3fff::/20', // Documentation.
  'fd00:ec2::/32', // Metadata services.
  'fd20:ce::/32', // Metadata services.
]
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7']
/** IPv6 outside of these is loopback, link-local, multicast, IPv4 in IPv6 or not assigned. */
const IPV6_UNICAST = ['2000::/3', 'fc00::/7']

function allowedBy({ allowedCidrs, profile = 'node' }: DialGuardOptions) {
  const forbidden = cidrsOf(FORBIDDEN)
  const privates = cidrsOf(PRIVATE)
  const unicast = cidrsOf(IPV6_UNICAST)
  // `0.0.0.0/0` means the internet, and must not open the operator's own network by the way.
  const isWithinPrivate = (cidr: string) =>
    PRIVATE.some((range) => prefixOf(cidr) >= prefixOf(range) && contains(cidrsOf([range]), cidr))
  const allowed = cidrsOf(allowedCidrs)
  const allowedPrivates = cidrsOf(allowedCidrs.filter(isWithinPrivate))

  return (address: string): boolean => {
    if (isIP(address) === 6 && !contains(unicast, address)) return false
    if (address.includes('%') || contains(forbidden, address)) return false
    if (contains(privates, address)) return contains(allowedPrivates, address)
    return profile === 'tenant-webhook' || contains(allowed, address)
  }
}

const prefixOf = (cidr: string) => Number(cidr.split('/')[1])
