import { type Actor, requireOrganization, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { Sql } from '@berth/platform/database'
import type { SecretEnvelope } from '@berth/platform/envelope'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, idToUuid, newId, parseId } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import {
  invitationAccepted,
  invitationCreated,
  invitationRevoked,
  type OrganizationRole,
} from '@berth/schema/events/policy'
import type { PolicyDatabase } from '../database.ts'
import { checkReason, checkText, checkWhole } from '../domain/input.ts'
import { formatInvitation, invitationState, parseInvitation } from '../domain/invitation.ts'
import { reaches } from '../domain/role.ts'
import { invitationNotePlace } from '../domain/sealed-places.ts'
import type { Invitation, Organization } from '../model.ts'
import * as store from '../store/invitations.ts'
import { countMembers, findMember, lockOrganization } from '../store/memberships.ts'
import { actingIn, lockActing } from './acting.ts'
import { addMember } from './create-organization.ts'
import { readQuota } from './quotas.ts'
import { digestOf, newSecret, type Secrets } from './secrets.ts'

export type Invitations = {
  list(
    actor: Actor,
    organizationId: Id<'org'>,
    page: { first?: number | null | undefined; after?: string | null | undefined },
  ): Promise<Connection<Invitation>>
  /** For whom it is, in the clear. */
  noteOf(invitation: Invitation): Promise<string | null>
  /**
   * @returns the token too, unless this is a repetition: it is not kept
   * @throws {DomainError} FORBIDDEN for a role above the one who asks, QUOTA_EXCEEDED, BAD_INPUT
   */
  create(
    asked: Keyed,
    input: {
      role: OrganizationRole
      note?: string | null | undefined
      ttlHours?: number | null | undefined
    },
  ): Promise<{ invitation: Invitation; token: string | null }>
  /**
   * Makes the person a member, once.
   *
   * @throws {DomainError} NOT_FOUND whatever is wrong with the invitation, CONFLICT for a member,
   *   QUOTA_EXCEEDED when the organization has as many members as it may
   */
  accept(
    asked: Keyed,
    input: { token: string },
  ): Promise<{ organization: Organization; role: OrganizationRole }>
  /** @throws {DomainError} NOT_FOUND when the organization has none of that id, CONFLICT when it is accepted */
  revoke(
    asked: Keyed,
    input: { id: string; reason?: string | null | undefined },
  ): Promise<Invitation>
}

const HOUR_MS = 60 * 60 * 1_000
const DEFAULT_HOURS = 7 * 24
const MAX_HOURS = 30 * 24

export function createInvitations({
  database,
  envelope,
  secrets,
  clock,
}: {
  database: PolicyDatabase
  envelope: SecretEnvelope
  secrets: Secrets
  clock: Clock
}): Invitations {
  return {
    async list(actor, organizationId, input) {
      const page = pageArguments(input)
      const after = page.after === null ? null : parseId('inv', page.after)
      const rows =
        actor.organizationId === organizationId
          ? await store.listInvitations(database.sql, organizationId, { take: page.take, after })
          : []
      return connection({ ...page, rows, cursorOf: ({ id }) => id })
    },

    noteOf: async ({ id, organizationId, noteEnc }) =>
      noteEnc && envelope.open(noteEnc, invitationNotePlace(id, organizationId)),

    async create(asked, { role, ...input }) {
      const { actor } = asked
      const note = checkText('note', input.note, 200)
      const hours = checkWhole('ttlHours', input.ttlHours ?? DEFAULT_HOURS, 1, MAX_HOURS)
      const organizationId = requireOrganization(actor)
      return database.sqlTransaction(async (sql) => {
        let token: string | null = null
        const request = { role, note, hours }
        const { id } = await idempotent(sql, asked, 'invitationCreate', request, async () => {
          const acting = await lockActing(sql, actor)
          if (!reaches(acting.role, role)) {
            throw new DomainError('FORBIDDEN', `Ask an owner: ${role} is above your own role`)
          }
          const now = clock.now()
          const open = await store.countPending(sql, organizationId, now)
          const most = await readQuota(sql, 'quota.invitations', organizationId)
          if (open >= most) {
            throw new DomainError(
              'QUOTA_EXCEEDED',
              `${open} invitations are open, of ${most} that may be: revoke one first`,
            )
          }
          const made = newId('inv')
          const secret = newSecret()
          token = formatInvitation(made, secret)
          const expiresAt = new Date(now.getTime() + hours * HOUR_MS)
          await store.insertInvitation(
            sql,
            {
              id: made,
              organizationId,
              role,
              noteEnc:
                note === null
                  ? null
                  : await envelope.seal(note, invitationNotePlace(made, organizationId)),
              createdBy: acting.userId,
              createdAt: now,
              expiresAt,
            },
            await secrets.hash(sql, made, digestOf(secret)),
          )
          await appendEvent(sql, invitationCreated, {
            aggregateId: idToUuid(made),
            aggregateSeq: 1,
            organizationId: idToUuid(organizationId),
            data: { role, expiresAt: expiresAt.toISOString() },
          })
          await appendAudit(sql, {
            organizationId: idToUuid(organizationId),
            actor,
            action: 'invitation.create',
            target: made,
            after: { role, expiresAt: expiresAt.toISOString() },
          })
          return { id: made }
        })
        return { invitation: await found(sql, organizationId, id), token }
      })
    },

    async accept(asked, input) {
      const userId = requirePerson(asked.actor)
      const parsed = parseInvitation(input.token)
      const kept = parsed && (await store.findTokenHash(database.sql, parsed.id))
      if (!kept || !(await secrets.matches(parsed.id, digestOf(parsed.secret), kept))) {
        throw notOpen()
      }
      const { id } = parsed
      const { organizationId } = kept
      const actor = actingIn(asked.actor, organizationId)
      const accepted = await database.sqlTransaction((sql) =>
        idempotent(sql, asked, 'invitationAccept', { id }, async () => {
          await lockOrganization(sql, organizationId)
          const now = clock.now()
          const invitation = await found(sql, organizationId, id)
          if (invitationState(invitation, now) !== 'PENDING') throw notOpen()
          const { role, createdBy } = invitation
          const inviter = await findMember(sql, organizationId, { userId: createdBy })
          if (!inviter || !reaches(inviter.role, role)) throw notOpen()
          const membership = { id: newId('mem'), organizationId, userId, role }
          if (!(await addMember(sql, actor, membership))) {
            throw new DomainError('CONFLICT', 'You belong to this organization already')
          }
          const most = await readQuota(sql, 'quota.members', organizationId)
          if ((await countMembers(sql, organizationId)) > most) {
            throw new DomainError(
              'QUOTA_EXCEEDED',
              `${most} people belong to this organization, and no more may: ask who invited you`,
            )
          }
          await store.settleInvitation(sql, organizationId, id, { acceptedBy: userId }, now)
          await appendEvent(sql, invitationAccepted, {
            aggregateId: idToUuid(id),
            aggregateSeq: 2,
            organizationId: idToUuid(organizationId),
            data: { userId, membershipId: membership.id },
          })
          await appendAudit(sql, {
            organizationId: idToUuid(organizationId),
            actor,
            action: 'invitation.accept',
            target: id,
            facts: { membershipId: membership.id },
            before: { state: 'PENDING' },
            after: { state: 'ACCEPTED' },
          })
          return { role }
        }),
      )
      const row = await database.prisma.organization.findUniqueOrThrow({
        where: { id: idToUuid(organizationId) },
      })
      const { name, createdAt } = row
      return { organization: { id: organizationId, name, createdAt }, role: accepted.role }
    },

    async revoke(asked, input) {
      const { actor } = asked
      const id = parseId('inv', input.id)
      const reason = checkReason(input.reason)
      const organizationId = requireOrganization(actor)
      return database.sqlTransaction(async (sql) => {
        await idempotent(sql, asked, 'invitationRevoke', { id, reason }, async () => {
          await lockActing(sql, actor)
          const invitation = await found(sql, organizationId, id)
          if (invitation.acceptedAt) {
            throw new DomainError(
              'CONFLICT',
              'This invitation has been accepted: remove the member instead',
            )
          }
          if (!invitation.revokedAt) await revoke(sql, actor, invitation, clock.now(), reason)
          return { id }
        })
        return found(sql, organizationId, id)
      })
    },
  }
}

/** Takes an open invitation back, under the organization's lock. */
export async function revoke(
  sql: Sql,
  actor: Actor,
  { id, organizationId }: Invitation,
  now: Date,
  reason: string | null,
): Promise<void> {
  if (!(await store.settleInvitation(sql, organizationId, id, 'revoked', now))) {
    throw new Error('the invitation was read under the organization’s lock')
  }
  await appendEvent(sql, invitationRevoked, {
    aggregateId: idToUuid(id),
    aggregateSeq: 2,
    organizationId: idToUuid(organizationId),
    data: {},
  })
  await appendAudit(sql, {
    organizationId: idToUuid(organizationId),
    actor,
    action: 'invitation.revoke',
    target: id,
    ...(reason === null ? {} : { reason }),
    before: { state: 'PENDING' },
    after: { state: 'REVOKED' },
  })
}

async function found(sql: Sql, organizationId: Id<'org'>, id: Id<'inv'>): Promise<Invitation> {
  const invitation = await store.findInvitation(sql, organizationId, id)
  if (invitation) return invitation
  throw new DomainError('NOT_FOUND', `Your organization has no invitation ${id}`)
}

/** The same whatever it is: what became of an invitation is for those who made it. */
function notOpen(): DomainError {
  return new DomainError(
    'NOT_FOUND',
    'This invitation has been used or revoked, has expired, or was never made: ask for a new one',
  )
}
