import { DomainError } from '@berth/platform/errors'

/** The keys that nodes trust: for people's sessions, and for administration by drivers and probes. */
export const authorities = ['user', 'node'] as const
export type Authority = (typeof authorities)[number]

const NODE = '[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?'

type Grant = {
  /** Services that may ask for its certificates. */
  callers: readonly string[]
  principal: RegExp
  principalIs: string
  /** Longest validity. */
  ttlMaxSeconds: number
}

const grants: Record<Authority, Grant> = {
  user: {
    callers: ['terminal'],
    principal: new RegExp(`^alc_[0-7][0-9a-hjkmnp-tv-z]{25}@${NODE}$`),
    principalIs: '<allocation id>@<node name>',
    ttlMaxSeconds: 600,
  },
  node: {
    callers: ['allocations', 'inventory'],
    principal: new RegExp(`^admin@${NODE}$`),
    principalIs: 'admin@<node name>',
    ttlMaxSeconds: 600,
  },
}

export type CertificateRequest = {
  authority: Authority
  principal: string
  organizationId: string | null
  ttlSeconds: number
}

const TTL_MIN_SECONDS = 10

/**
 * Who may have which certificate: a session's names one allocation on one node, and so opens
 * nothing else, whoever gets hold of it.
 *
 * @throws {DomainError} FORBIDDEN when this service has no business with the authority, BAD_INPUT
 *   when the principal or the validity is not one of the authority's
 */
export function checkCertificateRequest(request: CertificateRequest, caller: string): void {
  const { callers, principal, principalIs, ttlMaxSeconds } = grants[request.authority]
  if (!callers.includes(caller)) {
    throw new DomainError('FORBIDDEN', `${caller} may not have ${request.authority} certificates`)
  }
  if (!principal.test(request.principal)) {
    throw new DomainError('BAD_INPUT', `The principal must be ${principalIs}`)
  }
  const { ttlSeconds } = request
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < TTL_MIN_SECONDS || ttlSeconds > ttlMaxSeconds) {
    throw new DomainError('BAD_INPUT', `A certificate is valid 10 to ${ttlMaxSeconds} seconds`)
  }
  if (request.authority === 'user' && request.organizationId === null) {
    throw new DomainError(
      'BAD_INPUT',
      'A session’s certificate belongs to an organization: name it',
    )
  }
}
