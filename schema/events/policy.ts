import { event, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/** The roles a person can hold in an organization. */
export const organizationRoles = ['OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'] as const
export type OrganizationRole = (typeof organizationRoles)[number]

/** An organization exists from now on; the envelope says which. */
export const organizationCreated = event({
  domain: 'policy',
  aggregate: 'organization',
  verb: 'created',
  version: 1,
  data: z.strictObject({}),
})

/** A person belongs to the envelope's organization from now on, in this role. */
export const membershipAdded = event({
  domain: 'policy',
  aggregate: 'membership',
  verb: 'added',
  version: 1,
  data: z.strictObject({ userId: idOf('usr'), role: z.enum(organizationRoles) }),
})
