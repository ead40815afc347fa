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

/** A member has this role from now on. */
export const membershipChanged = event({
  domain: 'policy',
  aggregate: 'membership',
  verb: 'changed',
  version: 1,
  data: z.strictObject({ userId: idOf('usr'), role: z.enum(organizationRoles) }),
})

/** A person does not belong to the envelope's organization any more. The membership's last event. */
export const membershipRemoved = event({
  domain: 'policy',
  aggregate: 'membership',
  verb: 'removed',
  version: 1,
  data: z.strictObject({ userId: idOf('usr') }),
})

/** Somebody is invited, to become this. */
export const invitationCreated = event({
  domain: 'policy',
  aggregate: 'invitation',
  verb: 'created',
  version: 1,
  data: z.strictObject({ role: z.enum(organizationRoles), expiresAt: z.iso.datetime() }),
})

/** Whoever was invited is a member. The invitation's last event. */
export const invitationAccepted = event({
  domain: 'policy',
  aggregate: 'invitation',
  verb: 'accepted',
  version: 1,
  data: z.strictObject({ userId: idOf('usr'), membershipId: idOf('mem') }),
})

/** An invitation holds no more. Its last event. */
export const invitationRevoked = event({
  domain: 'policy',
  aggregate: 'invitation',
  verb: 'revoked',
  version: 1,
  data: z.strictObject({}),
})

/** An organization has a new API key; the envelope says which. */
export const apiKeyCreated = event({
  domain: 'policy',
  aggregate: 'apiKey',
  verb: 'created',
  version: 1,
  data: z.strictObject({ createdBy: idOf('usr'), expiresAt: z.iso.datetime() }),
})

/** An API key has another secret; the one before is good until the overlap ends. */
export const apiKeyRotated = event({
  domain: 'policy',
  aggregate: 'apiKey',
  verb: 'rotated',
  version: 1,
  data: z.strictObject({ overlapEndsAt: z.iso.datetime(), expiresAt: z.iso.datetime() }),
})

/** An API key is not good any more. Its last event. */
export const apiKeyRevoked = event({
  domain: 'policy',
  aggregate: 'apiKey',
  verb: 'revoked',
  version: 1,
  data: z.strictObject({}),
})

/** The envelope's organization cannot be acted for, nor its API keys be used, from now on. */
export const organizationSuspended = event({
  domain: 'policy',
  aggregate: 'organization',
  verb: 'suspended',
  version: 1,
  data: z.strictObject({}),
})

/** The envelope's organization is as it was before it was suspended. */
export const organizationReinstated = event({
  domain: 'policy',
  aggregate: 'organization',
  verb: 'reinstated',
  version: 1,
  data: z.strictObject({}),
})

/** A person, the aggregate, is refused wherever they sign in, and so are the API keys that they made. */
export const personSuspended = event({
  domain: 'policy',
  aggregate: 'person',
  verb: 'suspended',
  version: 1,
  data: z.strictObject({ userId: idOf('usr') }),
})

/** A person is let in again. */
export const personReinstated = event({
  domain: 'policy',
  aggregate: 'person',
  verb: 'reinstated',
  version: 1,
  data: z.strictObject({ userId: idOf('usr') }),
})
