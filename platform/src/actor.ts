import { z } from 'zod'
import { DomainError } from './errors.ts'
import { type Id, isId } from './ids.ts'

export type ActorKind = 'anonymous' | 'person' | 'api-key' | 'service'

/** What an answer may depend on; an operation has the narrowest of its fields'. */
export type Authority = 'PUBLIC' | 'ORGANIZATION' | 'PERSON'

/** Role of those who run the platform; the others (owner, admin, …) are held in an organization. */
export const OPERATOR_ROLE = 'platform:operator'

/** Who asks. Frozen; roles and scopes are sorted, so that equal actors serialize equally. */
export type Actor = {
  readonly kind: ActorKind
  readonly authority: Authority
  /**
   * The person. Throws when there is none: UNAUTHENTICATED for an anonymous caller, a plain error
   * (a bug, shown as INTERNAL) when the field's authority does not let it depend on a person.
   */
  readonly subject: Id<'usr'>
  readonly organizationId: Id<'org'> | null
  readonly roles: readonly string[]
  readonly scopes: readonly string[]
  /** Name of the calling service, of kind `service` only. */
  readonly service?: string
  /** Id of the API key or session that was presented. */
  readonly credential?: string
}

export type ActorFields = {
  kind: ActorKind
  authority?: Authority
  subject?: Id<'usr'> | null
  organizationId?: Id<'org'> | null
  roles?: readonly string[]
  scopes?: readonly string[]
  service?: string | undefined
  credential?: string | undefined
}

// Apart from the actor, so that asking whether there is a person needs no throwing getter.
const subjects = new WeakMap<Actor, Id<'usr'> | null>()

/** An actor of authority PERSON unless said otherwise. */
export function createActor(fields: ActorFields): Actor {
  const { kind, authority = 'PERSON', subject = null, organizationId = null } = fields
  if (subject !== null && authority !== 'PERSON') throw new TypeError('a shared actor is no person')
  const actor = Object.freeze({
    kind,
    authority,
    get subject(): Id<'usr'> {
      if (subject !== null) return subject
      if (kind === 'anonymous') throw new DomainError('UNAUTHENTICATED', 'Sign in to do this')
      if (authority === 'PERSON') {
        throw new DomainError('FORBIDDEN', 'This needs a person: sign in instead of using a key')
      }
      throw new TypeError(`the subject was read under authority ${authority}`)
    },
    organizationId,
    roles: sorted(fields.roles),
    scopes: sorted(fields.scopes),
    ...(fields.service === undefined ? {} : { service: fields.service }),
    ...(fields.credential === undefined ? {} : { credential: fields.credential }),
  })
  subjects.set(actor, subject)
  return actor
}

export const anonymous: Actor = createActor({ kind: 'anonymous', authority: 'PUBLIC' })

/** A service that acts for itself. */
export function serviceActor(service: string): Actor {
  return createActor({ kind: 'service', service })
}

/** The person, or null where `actor.subject` would throw. */
export function subjectOf(actor: Actor): Id<'usr'> | null {
  return actorToClaims(actor).sub ?? null
}

/**
 * Drops what an answer of this authority may not depend on: PUBLIC keeps nothing, ORGANIZATION the
 * organization, roles and scopes.
 */
export function narrow(actor: Actor, authority: Authority): Actor {
  if (authority === 'PUBLIC' || actor.authority === 'PUBLIC') return anonymous
  if (authority === 'PERSON' || actor.authority === 'ORGANIZATION') return actor
  const { kind, organizationId, roles, scopes, service } = actor
  return createActor({ kind, authority, organizationId, roles, scopes, service })
}

/** @throws {DomainError} UNAUTHENTICATED when anonymous, FORBIDDEN when no organization is chosen. */
export function requireOrganization(actor: Actor): Id<'org'> {
  if (actor.organizationId) return actor.organizationId
  if (actor.kind === 'anonymous') throw new DomainError('UNAUTHENTICATED', 'Sign in to do this')
  throw new DomainError('FORBIDDEN', 'Choose an organization first')
}

/** @throws {DomainError} UNAUTHENTICATED when anonymous, FORBIDDEN when a key or service calls. */
export function requirePerson(actor: Actor): Id<'usr'> {
  if (actor.kind === 'api-key' || actor.kind === 'service') {
    throw new DomainError('FORBIDDEN', 'This needs a person: sign in instead of using a key')
  }
  return actor.subject
}

const Claims = z.object({
  kind: z.enum(['anonymous', 'person', 'api-key', 'service']),
  authority: z.enum(['PUBLIC', 'ORGANIZATION', 'PERSON']),
  sub: z.custom<Id<'usr'>>((it) => isId('usr', it)).optional(),
  org: z.custom<Id<'org'>>((it) => isId('org', it)).optional(),
  roles: z.array(z.string().max(64)).max(64).default([]),
  scopes: z.array(z.string().max(128)).max(256).default([]),
  svc: z.string().max(64).optional(),
  cred: z.string().max(128).optional(),
})

export type ActorClaims = z.output<typeof Claims>

/** The actor as claims of a token, and as the audit keeps it. */
export function actorToClaims(actor: Actor): ActorClaims {
  const subject = subjects.get(actor)
  return {
    kind: actor.kind,
    authority: actor.authority,
    ...(subject ? { sub: subject } : {}),
    ...(actor.organizationId ? { org: actor.organizationId } : {}),
    roles: [...actor.roles],
    scopes: [...actor.scopes],
    ...(actor.service === undefined ? {} : { svc: actor.service }),
    ...(actor.credential === undefined ? {} : { cred: actor.credential }),
  }
}

/** @throws {DomainError} UNAUTHENTICATED when the claims are not an actor's. */
export function actorFromClaims(claims: unknown): Actor {
  const parsed = Claims.safeParse(claims)
  if (!parsed.success) throw new DomainError('UNAUTHENTICATED', 'The actor’s claims are malformed')
  const { kind, authority, sub, org, roles, scopes, svc, cred } = parsed.data
  if (sub && authority !== 'PERSON') {
    throw new DomainError('UNAUTHENTICATED', 'A shared actor names no person')
  }
  if (kind === 'anonymous') return anonymous
  return createActor({
    kind,
    authority,
    subject: sub ?? null,
    organizationId: org ?? null,
    roles,
    scopes,
    service: svc,
    credential: cred,
  })
}

function sorted(texts: readonly string[] = []): readonly string[] {
  return Object.freeze([...new Set(texts)].sort())
}
