import type { ActorKind } from '@berth/platform/actor'
import type { Id } from '@berth/platform/ids'
import type { OrganizationRole } from '@berth/schema/events/policy'
import type { Entry } from './domain/audit-chain.ts'
import type { Json } from './domain/canonical-json.ts'
import type { PolicyLevel } from './domain/policy-keys.ts'
import type { DecisionBasis } from './engine/decide.ts'

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
  readonly isSuspended: boolean
  /** Oldest first. */
  readonly memberships: readonly (Pick<Membership, 'organizationId' | 'role'> & {
    /** The organization is: nobody acts for it. */
    readonly isSuspended: boolean
  })[]
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

/** A policy as it is in a scope: all levels that count there. */
export type PolicyView = {
  readonly key: string
  readonly organizationId: Id<'org'> | null
  readonly userId: Id<'usr'> | null
  readonly settings: readonly PolicySettingView[]
}

/** What is set at one level. */
export type PolicySettingView = {
  readonly level: PolicyLevel
  /** Null: nothing is. */
  readonly value: unknown
  /** 0: nothing ever was. */
  readonly version: number
  readonly updatedAt: Date | null
}

/** A line of a setting's history; a null value is none. */
export type PolicyChange = {
  readonly version: number
  readonly before: unknown
  readonly after: unknown
  /** Null for a service. */
  readonly changedBy: Id<'usr'> | null
  readonly reason: string
  readonly at: Date
}

/** Who did something, as claims. */
export type AuditActor = {
  readonly kind: ActorKind
  readonly sub?: Id<'usr'>
  readonly roles?: readonly string[]
  readonly svc?: string
  /** Of the API key or the session that was presented. */
  readonly cred?: string
}

/** An entry of the audit trail, to be read. */
export type AuditEvent = Entry & { readonly occurredAt: Date; readonly by: AuditActor }

/** Facts as a list; null where there are none. */
export function auditFacts(facts: Json): { name: string; value: string | null }[] | null {
  if (facts === null || typeof facts !== 'object') return null
  return Object.entries(facts).map(([name, value]) => ({
    name,
    value: value === null || typeof value === 'string' ? value : JSON.stringify(value),
  }))
}

/** Of the values that decide, the versions that did; 0 of what was never set. */
export type DecisionVersions = {
  readonly roles: number
  readonly platform: number
  readonly organization: number
}

/** A line of the decision log: one action, or with a null `action` all of them at once. */
export type DecisionRecord = {
  readonly id: string
  readonly at: Date
  readonly organizationId: Id<'org'> | null
  readonly kind: ActorKind
  readonly roles: readonly string[]
  readonly action: string | null
  readonly facts: Readonly<Record<string, string | number | boolean>>
  readonly isGranted: boolean | null
  readonly basis: DecisionBasis | null
  readonly granted: readonly string[] | null
  readonly dependent: readonly string[] | null
  readonly versions: DecisionVersions
  /** How many alike it stands for. */
  readonly weight: number
}
