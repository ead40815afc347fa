import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import type { Sql, SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed } from '@berth/platform/idempotency'
import { type Id, idToUuid, parseId } from '@berth/platform/ids'
import { appendEvent } from '@berth/platform/outbox'
import {
  organizationReinstated,
  organizationSuspended,
  personReinstated,
  personSuspended,
} from '@berth/schema/events/policy'
import * as store from '../store/standing.ts'
import { lockActingOperator, requireReason } from './operators.ts'

export type Suspension<P extends 'usr' | 'org'> = {
  readonly id: Id<P>
  /** Null: it is not suspended. */
  readonly suspendedAt: Date | null
}

/**
 * Keeps people and organizations out, whole and until they are reinstated. Whoever relies on them is
 * told by the revocation feed. Again changes nothing.
 */
export type Suspensions = {
  /**
   * @throws {DomainError} NOT_FOUND when there is no such person, CONFLICT for oneself and for the last
   *   operator, BAD_INPUT without a reason
   */
  setPerson(asked: Keyed, input: Input, isSuspended: boolean): Promise<Suspension<'usr'>>
  /** @throws {DomainError} NOT_FOUND when there is no such organization, BAD_INPUT without a reason */
  setOrganization(asked: Keyed, input: Input, isSuspended: boolean): Promise<Suspension<'org'>>
}

type Input = { readonly id: string; readonly reason: string }

export function createSuspensions({
  database,
  clock,
}: {
  database: SqlDatabase
  clock: Clock
}): Suspensions {
  return {
    setPerson: (asked, input, isSuspended) =>
      set(asked, parseId('usr', input.id), requireReason(input.reason), isSuspended),
    setOrganization: (asked, input, isSuspended) =>
      set(asked, parseId('org', input.id), requireReason(input.reason), isSuspended),
  }

  async function set<P extends 'usr' | 'org'>(
    asked: Keyed,
    id: Id<P>,
    reason: string,
    isSuspended: boolean,
  ): Promise<Suspension<P>> {
    const operation = `${thingOf(id)}${isSuspended ? 'Suspend' : 'Reinstate'}`
    return database.sqlTransaction(async (sql) => {
      const userId = await lockActingOperator(sql, asked.actor)
      const { suspendedAt } = await idempotent(sql, asked, operation, { id, reason }, async () => {
        const before = await store.suspendedAt(sql, id)
        if (before === undefined) {
          throw new DomainError('NOT_FOUND', `There is no ${thingOf(id)} ${id}`)
        }
        if ((before !== null) === isSuspended) return { suspendedAt: textOf(before) }
        if (isSuspended && isPerson(id)) await requireAnother(sql, userId, id)
        const at = isSuspended ? clock.now() : null
        const number = await store.setSuspended(sql, id, at && { userId, at })
        await tell(sql, id, isSuspended, number)
        await appendAudit(sql, {
          // Of an organization its own audit tells; a person may be in several, or in none.
          organizationId: isPerson(id) ? null : idToUuid(id),
          actor: asked.actor,
          action: `${thingOf(id)}.${isSuspended ? 'suspend' : 'reinstate'}`,
          target: id,
          reason,
          before: { suspendedAt: textOf(before) },
          after: { suspendedAt: textOf(at) },
        })
        return { suspendedAt: textOf(at) }
      })
      return { id, suspendedAt: suspendedAt === null ? null : new Date(suspendedAt) }
    })
  }
}

/** The database has the last word (`users_keep_an_operator`); this one says what to do. */
async function requireAnother(sql: Sql, own: Id<'usr'>, id: Id<'usr'>): Promise<void> {
  if (id === own) {
    throw new DomainError('CONFLICT', 'Nobody suspends themselves: ask another operator')
  }
  if ((await store.isOperator(sql, id)) && (await store.countOperators(sql)) === 1) {
    throw new DomainError('CONFLICT', 'The last operator stays: make somebody else one first')
  }
}

async function tell(
  sql: Sql,
  id: store.Suspendable,
  isSuspended: boolean,
  aggregateSeq: bigint,
): Promise<void> {
  const aggregateId = idToUuid(id)
  if (isPerson(id)) {
    const contract = isSuspended ? personSuspended : personReinstated
    const event = { aggregateId, aggregateSeq, organizationId: null, data: { userId: id } }
    await appendEvent(sql, contract, event)
  } else {
    const contract = isSuspended ? organizationSuspended : organizationReinstated
    const event = { aggregateId, aggregateSeq, organizationId: aggregateId, data: {} }
    await appendEvent(sql, contract, event)
  }
}

function isPerson(id: store.Suspendable): id is Id<'usr'> {
  return id.startsWith('usr_')
}

function thingOf(id: store.Suspendable): 'person' | 'organization' {
  return isPerson(id) ? 'person' : 'organization'
}

function textOf(date: Date | null): string | null {
  return date?.toISOString() ?? null
}
