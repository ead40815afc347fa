import { type Actor, requireOrganization, subjectOf } from '@berth/platform/actor'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import { DomainError } from '@berth/platform/errors'
import { type Id, parseId } from '@berth/platform/ids'
import { actorOf, type ResolvedActor } from '../domain/principal.ts'
import type { Membership, Organization, User } from '../model.ts'
import type { DirectoryStore } from '../store/directory.ts'

/** People and organizations, as one actor may see them. */
export type Directory = {
  /** The person who asks; null when none does. */
  self(actor: Actor): Promise<User | null>
  /** Those of these people whom the actor may see: members of the organization acted for. */
  people(actor: Actor, ids: readonly Id<'usr'>[]): Promise<Map<Id<'usr'>, User>>
  /** Null unless it is the one acted for. */
  organization(actor: Actor, id: Id<'org'>): Promise<Organization | null>
  /** @throws {DomainError} UNAUTHENTICATED or FORBIDDEN when there is none */
  ownOrganization(actor: Actor): Promise<Organization>
  /** Those who came first before the others; none of another organization than the one acted for. */
  members(
    actor: Actor,
    organizationId: Id<'org'>,
    page: { first?: number | null | undefined; after?: string | null | undefined },
  ): Promise<Connection<Membership>>
  /** The place in the organization acted for; null when no person asks, or for none. */
  ownMembership(actor: Actor): Promise<Membership | null>
  /** @throws {DomainError} NOT_FOUND when nobody is known by this identity; FORBIDDEN as `actorOf` says */
  resolve(issuer: string, subject: string, organizationId: Id<'org'> | null): Promise<ResolvedActor>
}

export function createDirectory(store: DirectoryStore): Directory {
  return {
    async self(actor) {
      const id = subjectOf(actor)
      return id && store.user(id)
    },

    async people({ organizationId }, ids) {
      return organizationId ? store.usersWithin(organizationId, ids) : new Map()
    },

    async organization(actor, id) {
      return actor.organizationId === id ? store.organization(id) : null
    },

    async ownOrganization(actor) {
      const id = requireOrganization(actor)
      const organization = await store.organization(id)
      if (!organization) throw new DomainError('NOT_FOUND', `There is no organization ${id}`)
      return organization
    },

    async members(actor, organizationId, input) {
      const page = pageArguments(input)
      const after = page.after === null ? null : parseId('mem', page.after)
      const rows =
        actor.organizationId === organizationId
          ? await store.members(organizationId, { take: page.take, after })
          : []
      return connection({ ...page, rows, cursorOf: ({ id }) => id })
    },

    async ownMembership(actor) {
      const userId = subjectOf(actor)
      const { organizationId } = actor
      return userId && organizationId && store.membership(organizationId, userId)
    },

    async resolve(issuer, subject, organizationId) {
      const principal = await store.principal(issuer, subject)
      if (!principal) {
        throw new DomainError(
          'NOT_FOUND',
          'Nobody here is known by this sign-in: ask to be invited',
        )
      }
      return actorOf(principal, organizationId)
    },
  }
}
