import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/** But policy, which asks itself nothing by command. */
const everyService = [
  'gateway',
  'terminal',
  'allocations',
  'billing',
  'inventory',
  'notifications',
] as const

/** More than any issuer ever had: the gateways hold them all. */
export const MAX_DENIED_SIGNING_KEYS = 1_000

const REFRESH = 'refresh:'

/**
 * Who a verified token's subject is here, and what they may do in the organization asked for, or
 * in their first one. `NOT_FOUND` when nobody of that issuer and subject is known, or they are
 * suspended: the message says which, for the log. `FORBIDDEN` when they do not belong to the
 * organization asked for, and with `suspended: true` when that organization is suspended.
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
 * Whether what a person has left open in an organization may stay so, and what they may be there as of
 * now. That it may not is an answer and no error: whoever asks tells it from not being answered.
 */
export const readStanding = command({
  name: 'actors.standing',
  owner: 'policy',
  callers: ['terminal'],
  input: z.strictObject({
    userId: idOf('usr'),
    organizationId: idOf('org'),
    /** By which they came, as in `actor.credential`: `ses_…` for a browser session. */
    credential: z.string().max(128).nullable(),
  }),
  output: z.strictObject({
    /**
     * `SIGNED_OUT` once that session was ended by somebody; one that ran out ends nothing. `SHUT_OUT`
     * when they do not belong there any more, or are suspended, or the organization is.
     */
    standing: z.enum(['GOOD', 'SIGNED_OUT', 'SHUT_OUT']),
    /** None unless it is good. */
    roles: z.array(z.string()),
  }),
})

/**
 * Whose an API key is, where it may be used from and until when. It may do what these roles may, within
 * these scopes. `NOT_FOUND` when it is not good: the message says why, for the log.
 */
export const resolveApiKey = command({
  name: 'apiKeys.resolve',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({
    keyId: idOf('key'),
    /** SHA-256 of the secret, in base64url: the secret itself goes no further than the gateway. */
    secretHash: z.string().regex(/^[\w-]{43}$/),
  }),
  output: z.strictObject({
    organizationId: idOf('org'),
    roles: z.array(z.string()),
    scopes: z.array(z.string()),
    /** Null: from anywhere. */
    allowedCidrs: z.array(z.string()).nullable(),
    /** Of the secret that was presented. */
    expiresAt: z.iso.datetime(),
  }),
})

/**
 * The values of policies as they hold for a member of an organization, for the organization, or on the
 * platform when none is named. A key without a value is left out.
 */
export const readPolicies = command({
  name: 'policies.read',
  owner: 'policy',
  callers: everyService,
  input: z.strictObject({
    keys: z.array(z.string().max(128)).min(1).max(64),
    organizationId: z.string().max(64).optional(),
    /** As they hold for this member of it. */
    userId: z.string().max(64).optional(),
  }),
  output: z.strictObject({
    values: z.array(
      z.strictObject({
        key: z.string().max(128),
        /** Rises with every change of what the value is made of. */
        version: z.int().nonnegative(),
        value: z.json(),
      }),
    ),
  }),
})

/** Whose decisions are asked for: nobody in particular, so that the answer holds for all like them. */
const authority = {
  kind: z.enum(['anonymous', 'person', 'api-key', 'service']),
  organizationId: idOf('org').nullable(),
  roles: z.array(z.string().max(64)).max(64),
}

/** Every action that such an actor is granted; the scopes of an API key narrow that further. */
export const readGrants = command({
  name: 'policies.grants',
  owner: 'policy',
  callers: everyService,
  input: z.strictObject(authority),
  output: z.strictObject({
    granted: z.array(z.string().max(128)),
    /** Those that depend on facts of the single case: `policies.decide` decides them. */
    dependent: z.array(z.string().max(128)),
  }),
})

/** Whether such an actor may do this, the facts of the case being these. */
export const decideAction = command({
  name: 'policies.decide',
  owner: 'policy',
  callers: everyService,
  input: z.strictObject({
    ...authority,
    action: z.string().max(128),
    /** At most one of a name, as the action declares them. */
    facts: z
      .array(
        z.strictObject({
          name: z.string().max(64),
          value: z.union([z.string().max(1_000), z.int(), z.boolean()]),
        }),
      )
      .max(32),
  }),
  output: z.strictObject({ isGranted: z.boolean() }),
})

/**
 * The changes of authority after a version, oldest first, as `platform/revocations.ts` follows them.
 * A null version asks for the latest one alone. `isComplete` is false when the one asked for is not
 * known here, or some that came after it are no longer kept: then `version` is the latest, and
 * whatever depends on anybody's authority is to be found out again.
 */
export const readRevocations = command({
  name: 'revocations.read',
  owner: 'policy',
  callers: everyService,
  input: z.strictObject({
    after: z.int().nonnegative().nullable(),
    limit: z.int().min(1).max(1_000),
  }),
  output: z.strictObject({
    /** That of the last concern told here, or the one asked for when there is none. */
    version: z.int().nonnegative(),
    /** They are numbered without a gap, up to `version`. */
    concerns: z.array(
      z.strictObject({
        kind: z.enum(['person', 'organization', 'credential', 'signing-key', 'policy', 'everyone']),
        /** `usr_…`, `org_…`, a key's name; empty for everyone. */
        id: z.string().max(255),
      }),
    ),
    isComplete: z.boolean(),
  }),
})

/**
 * The keys of the issuer that sign no token any more, each by its key id or its thumbprint (RFC 7638).
 * Every change of the list is a concern of kind `signing-key`.
 */
export const readDeniedSigningKeys = command({
  name: 'signingKeys.denied',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({}),
  output: z.strictObject({ keyIds: z.array(z.string().max(255)).max(MAX_DENIED_SIGNING_KEYS) }),
})

/**
 * Tells every gateway to fetch the keys of the issuer anew: by a concern of kind `signing-key` whose id
 * is `signingKeyRefresh(refreshId)`. Audited as what the gateway did, once for each refresh.
 */
export const refreshSigningKeys = command({
  name: 'signingKeys.refresh',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({ refreshId: z.uuidv7(), reason: z.string().max(500).nullable() }),
  output: z.strictObject({}),
})

/** As a concern names it. No key is named so: a key of that id would be fetched anew in vain, no more. */
export function signingKeyRefresh(refreshId: string): string {
  return `${REFRESH}${refreshId}`
}

/** Null for the id of a key. */
export function refreshOfConcern(id: string): string | null {
  return id.startsWith(REFRESH) ? id.slice(REFRESH.length) : null
}

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

/** SHA-256 of the session cookie's value. */
const sessionHash = z.string().regex(/^[0-9a-f]{64}$/)

/**
 * A browser session begins: whoever the issuer says it is has signed in. The same session id again
 * changes nothing. `NOT_FOUND` when nobody is known by this identity, `FORBIDDEN` when they are suspended.
 */
export const createSession = command({
  name: 'sessions.create',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({
    id: idOf('ses'),
    tokenHash: sessionHash,
    issuer: z.string().max(500),
    subject: z.string().max(255),
    /** The issuer's own name for its session, `sid`. */
    issuerSession: z.string().max(255).nullable(),
    refreshToken: z.string().max(8_000).nullable(),
    refreshSeconds: z.int().min(10).max(86_400),
    idleSeconds: z.int().min(1).max(2_592_000),
    lifetimeSeconds: z.int().min(1).max(2_592_000),
    userAgent: z.string().max(300).nullable(),
    clientIp: z.string().max(45).nullable(),
    /** The session that the browser had before: it ends in the same transaction. */
    replaces: sessionHash.nullable(),
  }),
  output: z.strictObject({}),
})

/** Whose live session this is, and for how long; `NOT_FOUND` when there is none. Extends nothing. */
export const resolveSession = command({
  name: 'sessions.resolve',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({ tokenHash: sessionHash }),
  output: z.strictObject({
    id: idOf('ses'),
    issuer: z.string(),
    subject: z.string(),
    /** Seconds from now until it ends, and until it ends unless it is used. */
    expiresIn: z.number(),
    idleIn: z.number(),
    /** Until the issuer is to be asked whether they are still known there; null: not at all. */
    refreshIn: z.number().nullable(),
  }),
})

/** A session was used: its idle time begins anew. `NOT_FOUND` when it is not live. */
export const touchSession = command({
  name: 'sessions.touch',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({ id: idOf('ses') }),
  output: z.strictObject({}),
})

/**
 * Sessions end: one, or those that somebody's session at the issuer began. Whoever relies on them
 * is told by the revocation feed.
 */
export const revokeSessions = command({
  name: 'sessions.revoke',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({
    which: z.union([
      z.strictObject({ sessionId: idOf('ses') }),
      z.strictObject({ tokenHash: sessionHash }),
      z.strictObject({
        issuer: z.string().max(500),
        subject: z.string().max(255),
        issuerSession: z.string().max(255).nullable(),
        createdBefore: z.iso.datetime(),
      }),
      z.strictObject({
        issuer: z.string().max(500),
        subject: z.null(),
        issuerSession: z.string().max(255),
        createdBefore: z.iso.datetime(),
      }),
    ]),
    reason: z.enum(['LOGOUT', 'ISSUER']),
  }),
  output: z.strictObject({ ended: z.array(idOf('ses')) }),
})

/**
 * The refresh token of a session, for a minute and to one at a time, since it may be used once. Null
 * when it is not due or another has it. The same lease again is told the same.
 */
export const beginSessionRefresh = command({
  name: 'sessions.beginRefresh',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({ id: idOf('ses'), lease: z.uuid() }),
  output: z.strictObject({ refreshToken: z.string().nullable() }),
})

/** The issuer has answered: the token to use next, or null to keep the one there is. */
export const endSessionRefresh = command({
  name: 'sessions.endRefresh',
  owner: 'policy',
  callers: ['gateway'],
  input: z.strictObject({
    id: idOf('ses'),
    lease: z.uuid(),
    refreshToken: z.string().max(8_000).nullable(),
    refreshSeconds: z.int().min(10).max(86_400),
  }),
  /** False when the lease was another's by then, or the session has ended. */
  output: z.strictObject({ isStored: z.boolean() }),
})

const auditJson = z.string().max(200_000)

/**
 * Rows of the caller's own audit, for the trail that policy seals: the domain is the calling service's
 * name. At least once each: what came before is known by its id, and left as it is.
 */
export const appendAuditTrail = command({
  name: 'audit.append',
  owner: 'policy',
  callers: ['allocations', 'billing', 'inventory', 'notifications'],
  input: z.strictObject({
    events: z
      .array(
        z.strictObject({
          /** Its time is when it was done. */
          id: z.uuid(),
          organizationId: z.uuid().nullable(),
          // JSON texts, as they were written: whatever was audited is taken.
          actor: auditJson,
          facts: auditJson,
          before: auditJson.nullable(),
          after: auditJson.nullable(),
          action: auditJson,
          target: auditJson,
          reason: auditJson.nullable(),
          requestId: auditJson.nullable(),
          origin: auditJson.nullable(),
        }),
      )
      .min(1)
      .max(500),
  }),
  /** How many were new. */
  output: z.strictObject({ appended: z.int().nonnegative() }),
})
