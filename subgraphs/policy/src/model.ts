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

/** A person as a verified token's issuer and subject found them. */
export type Principal = {
  readonly userId: Id<'usr'>
  /** Oldest first. */
  readonly memberships: readonly Pick<Membership, 'organizationId' | 'role'>[]
  readonly platformRoles: readonly string[]
}
