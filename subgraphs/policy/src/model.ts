import type { Id } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'

export type User = { readonly id: Id<'usr'>; readonly name: string }

export type Organization = {
  readonly id: Id<'org'>
  readonly name: string
  readonly createdAt: Date
}

export type Membership = {
  readonly id: Id<'mem'>
  readonly organizationId: Id<'org'>
  readonly userId: Id<'usr'>
  readonly role: OrganizationRole
}

export type Invitation = {
  readonly id: Id<'inv'>
  readonly organizationId: Id<'org'>
  readonly role: OrganizationRole
  /** Sealed; null when there is none, or it was forgotten. */
  readonly noteEnc: string | null
  readonly createdBy: Id<'usr'>
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly acceptedAt: Date | null
  readonly revokedAt: Date | null
}

export type ApiKey = {
  readonly id: Id<'key'>
  readonly organizationId: Id<'org'>
  readonly name: string
  readonly scopes: readonly string[]
  readonly allowedCidrs: readonly string[] | null
  readonly createdBy: Id<'usr'>
  /** What whoever made it is now; null when they are no member any more. */
  readonly makerRole: OrganizationRole | null
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly previousEndsAt: Date | null
  readonly revokedAt: Date | null
  readonly lastUsedAt: Date | null
}

/** A person as a verified token's issuer and subject found them. */
export type Principal = {
  readonly userId: Id<'usr'>
  /** Oldest first. */
  readonly memberships: readonly Pick<Membership, 'organizationId' | 'role'>[]
  readonly platformRoles: readonly string[]
}

/** A browser session, as its person sees it. */
export type Session = {
  readonly id: Id<'ses'>
  readonly createdAt: Date
  readonly lastUsedAt: Date
  /** When it ends, however much it is used. */
  readonly expiresAt: Date
  readonly userAgent: string | null
  readonly clientAddress: string | null
}

/** As whom somebody signed in, at which issuer. */
export type SessionKey = { readonly issuer: string; readonly subject: string }

/** Why a session ended; `EXPIRED` is written when it is swept, and holds from its last moment. */
export type SessionEnd = 'LOGOUT' | 'REVOKED' | 'REPLACED' | 'ISSUER' | 'LIMIT' | 'EXPIRED'
