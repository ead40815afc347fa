import type { Sql } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { Prisma } from '@berth/prisma/policy'
import type { OrganizationRole } from '@berth/schema/events/policy'
import type { PolicyDatabase } from '../database.ts'
import type { Membership, Organization, Principal, User } from '../model.ts'
import { findMember, listMembers } from './memberships.ts'

/** People and organizations. */
export type DirectoryStore = ReturnType<typeof createDirectoryStore>

export function createDirectoryStore({ prisma, sql }: PolicyDatabase) {
  return {
    async user(id: Id<'usr'>): Promise<User | null> {
      const row = await prisma.user.findUnique({ where: { id: idToUuid(id) } })
      return row && userOf(row)
    },

    /** Those of these people who belong to the organization, by id. */
    async usersWithin(
      organizationId: Id<'org'>,
      ids: readonly Id<'usr'>[],
    ): Promise<Map<Id<'usr'>, User>> {
      const rows = await prisma.user.findMany({
        where: {
          id: { in: ids.map(idToUuid) },
          memberships: { some: { organizationId: idToUuid(organizationId) } },
        },
      })
      return new Map(rows.map(userOf).map((user) => [user.id, user]))
    },

    async organization(id: Id<'org'>): Promise<Organization | null> {
      const row = await prisma.organization.findUnique({ where: { id: idToUuid(id) } })
      return row && { id, name: row.name, createdAt: row.createdAt }
    },

    members: (organizationId: Id<'org'>, page: { take: number; after: Id<'mem'> | null }) =>
      listMembers(sql, organizationId, page),

    membership: (organizationId: Id<'org'>, userId: Id<'usr'>) =>
      findMember(sql, organizationId, { userId }),

    async principal(issuer: string, subject: string): Promise<Principal | null> {
      const link = await prisma.identityLink.findUnique({
        where: { issuer_subject: { issuer, subject } },
        include: { user: { include: AUTHORITY } },
      })
      return link && principalOf(link.user)
    },

    async principalOf(userId: Id<'usr'>): Promise<Principal | null> {
      const where = { id: idToUuid(userId) }
      const user = await prisma.user.findUnique({ where, include: AUTHORITY })
      return user && principalOf(user)
    },
  }
}

/** What a person may be, and where. */
const AUTHORITY = {
  memberships: {
    orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
    include: { organization: { select: { suspendedAt: true } } },
  },
  platformRoles: { orderBy: { role: 'asc' } },
} satisfies Prisma.UserInclude

type AuthorityRow = Prisma.UserGetPayload<{ include: typeof AUTHORITY }>

function principalOf({ id, suspendedAt, memberships, platformRoles }: AuthorityRow): Principal {
  return {
    userId: uuidToId('usr', id),
    isSuspended: suspendedAt !== null,
    memberships: memberships.map(({ organizationId, role, organization }) => ({
      organizationId: uuidToId('org', organizationId),
      role: role as OrganizationRole,
      isSuspended: organization.suspendedAt !== null,
    })),
    platformRoles: platformRoles.map(({ role }) => role),
  }
}

function userOf({ id, name }: { id: string; name: string }): User {
  return { id: uuidToId('usr', id), name }
}

/** What is written is written once: each of these says whether it was new. */
export function createDirectoryWrites(sql: Sql) {
  const insert = async (text: string, values: unknown[]): Promise<boolean> => {
    const rows = await sql.query(`${text} ON CONFLICT DO NOTHING RETURNING 1`, values)
    return rows.length === 1
  }
  return {
    addUser: ({ id, name }: User) =>
      insert('INSERT INTO users (id, name) VALUES ($1::uuid, $2)', [idToUuid(id), name]),

    linkIdentity: (userId: Id<'usr'>, issuer: string, subject: string) =>
      insert('INSERT INTO identity_links (issuer, subject, user_id) VALUES ($1, $2, $3::uuid)', [
        issuer,
        subject,
        idToUuid(userId),
      ]),

    addOrganization: ({ id, name }: Pick<Organization, 'id' | 'name'>) =>
      insert('INSERT INTO organizations (id, name) VALUES ($1::uuid, $2)', [idToUuid(id), name]),

    addMembership: ({ id, organizationId, userId, role }: Membership) =>
      insert(
        `INSERT INTO memberships (id, organization_id, user_id, role)
         VALUES ($1::uuid, $2::uuid, $3::uuid, $4)`,
        [idToUuid(id), idToUuid(organizationId), idToUuid(userId), role],
      ),

    addPlatformRole: (userId: Id<'usr'>, role: string) =>
      insert('INSERT INTO platform_roles (user_id, role) VALUES ($1::uuid, $2)', [
        idToUuid(userId),
        role,
      ]),
  }
}
