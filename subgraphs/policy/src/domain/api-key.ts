import { isIP } from 'node:net'
import { DomainError } from '@berth/platform/errors'
import type { ApiKey } from '../model.ts'

export type ApiKeyState = 'ACTIVE' | 'EXPIRED' | 'REVOKED' | 'ORPHANED'

/** Whether a key is good at a time; what cannot be undone is said before what could. */
export function apiKeyState(
  { revokedAt, expiresAt, makerRole }: Pick<ApiKey, 'revokedAt' | 'expiresAt' | 'makerRole'>,
  now: Date,
): ApiKeyState {
  if (revokedAt) return 'REVOKED'
  if (expiresAt <= now) return 'EXPIRED'
  return makerRole === null ? 'ORPHANED' : 'ACTIVE'
}

const SCOPE = /^[a-z]{1,40}:([a-z]{1,40}|\*)$/

/** Sorted, each once. @throws {DomainError} BAD_INPUT that names what is wrong */
export function checkScopes(scopes: readonly string[]): string[] {
  const bad = scopes.find((it) => !SCOPE.test(it))
  if (bad !== undefined) {
    throw new DomainError(
      'BAD_INPUT',
      `${JSON.stringify(bad.slice(0, 40))} is no scope: \`allocation:read\` and \`allocation:*\` are`,
    )
  }
  const unique = [...new Set(scopes)].sort()
  if (unique.length >= 1 && unique.length <= 50) return unique
  throw new DomainError('BAD_INPUT', '`scopes` names 1 to 50 actions')
}

/** Null: from anywhere. @throws {DomainError} BAD_INPUT that names what is wrong */
export function checkCidrs(cidrs: readonly string[] | null | undefined): string[] | null {
  if (cidrs == null) return null
  if (cidrs.length < 1 || cidrs.length > 50) {
    throw new DomainError('BAD_INPUT', '`allowedCidrs` names 1 to 50 networks, or is left out')
  }
  for (const cidr of cidrs) {
    if (isCidr(cidr)) continue
    throw new DomainError(
      'BAD_INPUT',
      `${JSON.stringify(cidr.slice(0, 50))} is no network: \`203.0.113.0/24\` and \`2001:db8::/32\` are`,
    )
  }
  return [...new Set(cidrs.map((it) => it.toLowerCase()))]
}

const DAY_MS = 24 * 60 * 60 * 1_000

/** When a new key ends. @throws {DomainError} BAD_INPUT unless it is within a year from now */
export function checkExpiry(expiresAt: Date | null | undefined, now: Date, otherwise?: Date): Date {
  if (expiresAt == null) return otherwise ?? new Date(now.getTime() + 90 * DAY_MS)
  const remainingMs = expiresAt.getTime() - now.getTime()
  if (remainingMs > 0 && remainingMs <= 366 * DAY_MS) return expiresAt
  throw new DomainError('BAD_INPUT', '`expiresAt` is a time within a year from now')
}

function isCidr(text: string): boolean {
  const [, address = '', prefix = ''] = /^([0-9a-f.:]{2,45})\/(\d{1,3})$/i.exec(text) ?? []
  const bits = Number(prefix)
  switch (isIP(address)) {
    case 4:
      return bits <= 32
    case 6:
      // An IPv4 address in IPv6 is compared as IPv4: a network of those would match none.
      return bits <= 128 && !/^[0:]*:ffff:/i.test(address)
    default:
      return false
  }
}
