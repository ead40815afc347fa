import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/**
 * Who a verified token's subject is here, and what they may do in the organization asked for, or
 * in their first one. `NOT_FOUND` when nobody of that issuer and subject is known, `FORBIDDEN`
 * when they do not belong to the organization asked for.
 */
export const resolveActor = command({
  name: 'actors.resolve',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({
    issuer: z.string().max(500),
    subject: z.string().max(255),
    organizationId: idOf('org').nullable(),
  }),
  output: z.strictObject({
    userId: idOf('usr'),
    organizationId: idOf('org').nullable(),
    roles: z.array(z.string()),
  }),
})

/**
 * The values of policies as they hold in an organization, or on the platform when none is named. A
 * key without a value is left out.
 */
export const readPolicies = command({
  name: 'policies.read',
  owner: 'policy',
  callers: ['gateway', 'terminal', 'allocations', 'billing', 'inventory', 'notifications'],
  input: z.strictObject({
    keys: z.array(z.string().max(128)).min(1).max(64),
    organizationId: z.string().max(64).optional(),
  }),
  output: z.strictObject({
    values: z.array(
      z.strictObject({
        key: z.string().max(128),
        version: z.int().nonnegative(),
        value: z.json(),
      }),
    ),
  }),
})

/**
 * Signs a short-lived SSH certificate. The user authority opens an allocation's account for one
 * session; the node-administration authority is for drivers and probes.
 */
export const signCertificate = command({
  name: 'certificates.sign',
  owner: 'policy',
  callers: ['terminal', 'allocations', 'inventory'],
  input: z.strictObject({
    authority: z.enum(['user', 'node']),
    publicKey: z.string().max(1_000),
    /** `<allocation id>@<node name>` of the user authority, `admin@<node name>` of the node one. */
    principal: z.string().max(200),
    organizationId: idOf('org').nullable(),
    ttlSeconds: z.int().min(10).max(600),
  }),
  output: z.strictObject({ certificate: z.string(), expiresAt: z.iso.datetime() }),
})
