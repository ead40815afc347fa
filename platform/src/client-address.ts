import type { IncomingMessage } from 'node:http'
import { isIP, SocketAddress } from 'node:net'
import { cidrsOf, contains } from './cidrs.ts'
import { ConfigError } from './config.ts'

/** The address that limits are counted for, and that an API key may be bound to. */
export type ClientAddress = (request: Request) => string

type Request = Pick<IncomingMessage, 'headers'> & {
  readonly socket: { readonly remoteAddress?: string | undefined }
}

/** That of the connection. */
export const peerAddress: ClientAddress = ({ socket: { remoteAddress } }) =>
  plain(remoteAddress ?? 'unknown')

/** A range beyond these is no list of proxies; what is private fits in them. */
const WIDEST = { 4: 8, 6: 7 }

/**
 * Who asks, behind proxies: of `X-Forwarded-For` the right-most address that is no trusted proxy's,
 * provided that the connection comes from one. What stands left of it may be anybody's invention, so
 * that it changes nothing. An entry that is no plain address ends the search: the proxy that has
 * passed it on is as much as is known. `Forwarded` (RFC 7239) is not read.
 *
 * @param trustedProxies CIDRs; with none the headers are not read at all
 * @throws {ConfigError} on what is no CIDR, and in production on one that is too wide to be a list
 * of proxies
 */
export function createClientAddress({
  trustedProxies,
  isProduction,
  setting = 'BERTH_TRUSTED_PROXIES',
}: {
  trustedProxies: readonly string[]
  isProduction: boolean
  /** By which they were given. */
  setting?: string
}): ClientAddress {
  if (trustedProxies.length === 0) return peerAddress
  for (const cidr of trustedProxies) {
    const problem = problemOf(cidr, isProduction)
    if (problem) throw new ConfigError(`${setting}: ${cidr} ${problem}`)
  }
  const proxies = cidrsOf(trustedProxies)

  return (request) => {
    const peer = peerAddress(request)
    const given = request.headers['x-forwarded-for']
    if (given === undefined || !isTrusted(peer)) return peer
    const entries = Array.isArray(given) ? given.join(',') : given
    let address = peer
    let end = entries.length
    while (end >= 0 && isTrusted(address)) {
      const comma = end === 0 ? -1 : entries.lastIndexOf(',', end - 1)
      const entry = entries.slice(comma + 1, end).trim()
      if (isIP(entry) === 0 || entry.includes('%')) break
      address = plain(entry)
      end = comma
    }
    return address
  }

  function isTrusted(address: string): boolean {
    return isIP(address) !== 0 && contains(proxies, address)
  }
}

function problemOf(cidr: string, isProduction: boolean): string | null {
  try {
    cidrsOf([cidr])
  } catch {
    return 'is not a CIDR such as 10.1.0.0/16'
  }
  const [address = '', prefix] = cidr.split('/')
  if (isIP(address) === 6 && isIP(plain(address)) === 4) {
    return 'is IPv4 written as IPv6: write it as IPv4'
  }
  const widest = isIP(address) === 4 ? WIDEST[4] : WIDEST[6]
  if (isProduction && Number(prefix) < widest) {
    return `is too wide (at least /${widest}): whoever is in it may say to be anyone`
  }
  return null
}

/** An IPv4 client of a socket for both families is one of IPv4; a zone is of this machine alone. */
function plain(address: string): string {
  if (!address.includes(':') || isIP(address) !== 6) return address
  const bare = address.split('%')[0] ?? ''
  const canonical = new SocketAddress({ address: bare, family: 'ipv6' }).address
  return canonical.startsWith('::ffff:') && canonical.includes('.') ? canonical.slice(7) : canonical
}
