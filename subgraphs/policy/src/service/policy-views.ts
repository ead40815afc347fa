import { type Actor, requireOrganization } from '@berth/platform/actor'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import { DomainError } from '@berth/platform/errors'
import { parseId } from '@berth/platform/ids'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { PolicyDatabase } from '../database.ts'
import {
  type PolicyLevel,
  permissionAt,
  policyAt,
  policyKeys,
  policyLevels,
  policyOf,
} from '../domain/policy-keys.ts'
import type { PolicyChange, PolicyView } from '../model.ts'
import { findMember } from '../store/memberships.ts'
import * as store from '../store/policies.ts'
import { listChanges } from '../store/policy-changes.ts'
import { noMember, noOrganization } from './policy-target.ts'

/** Whose policies: one's own organization's where none is named. */
type Whose = {
  readonly organizationId?: string | null | undefined
  readonly userId?: string | null | undefined
}

/** Policies, as those may see them who are let. */
export type PolicyViews = {
  /**
   * Every policy, by key.
   *
   * @throws {DomainError} NOT_FOUND for an organization or a member that is not there, or not to be
   *   seen: operators see every organization's, others their own
   */
  list(actor: Actor, whose: Whose): Promise<PolicyView[]>
  /** @throws {DomainError} as `list`, and BAD_INPUT when there is no such policy */
  one(actor: Actor, key: string, whose: Whose): Promise<PolicyView>
  /** What has just been changed. */
  changed(actor: Actor, setting: store.PolicyScope & { readonly key: string }): Promise<PolicyView>
  /**
   * A setting's history, newest first.
   *
   * @throws {DomainError} BAD_INPUT when it is not set at this level, FORBIDDEN at PLATFORM for all but
   *   operators: the reasons there may name others
   */
  history(
    actor: Actor,
    view: PolicyView,
    level: PolicyLevel,
    page: { first?: number | null | undefined; after?: string | null | undefined },
  ): Promise<Connection<PolicyChange>>
}

export function createPolicyViews({
  database,
  policy,
}: {
  database: Pick<PolicyDatabase, 'sql'>
  policy: Pick<PolicyClient, 'can'>
}): PolicyViews {
  const { sql } = database
  return {
    async list(actor, whose) {
      return viewsOf(actor, [...policyKeys.keys()].sort(), await scopeOf(actor, whose))
    },

    async one(actor, key, whose) {
      policyOf(key)
      return view(actor, key, await scopeOf(actor, whose))
    },

    changed: (actor, { key, organizationId, userId }) =>
      view(actor, key, { organizationId, userId }),

    async history(actor, { key, organizationId, userId }, level, input) {
      policyAt(key, level)
      const page = pageArguments(input)
      const before = page.after === null ? null : versionOf(page.after)
      if (level === 'PLATFORM' && !(await policy.can(actor, permissionAt.PLATFORM))) {
        throw new DomainError('FORBIDDEN', `The platform’s history needs ${permissionAt.PLATFORM}`)
      }
      const isOfOne = level === 'USER'
      const setting = {
        key,
        level,
        organizationId: level === 'PLATFORM' ? null : organizationId,
        userId: isOfOne ? userId : null,
      }
      const isNamed = level === 'PLATFORM' || (organizationId && (userId || !isOfOne))
      const rows = isNamed ? await listChanges(sql, setting, { take: page.take, before }) : []
      return connection({ ...page, rows, cursorOf: ({ version }) => String(version) })
    },
  }

  async function scopeOf(actor: Actor, whose: Whose): Promise<store.PolicyScope> {
    const named = whose.organizationId == null ? null : parseId('org', whose.organizationId)
    const userId = whose.userId == null ? null : parseId('usr', whose.userId)
    if (named !== null && named !== actor.organizationId) {
      const isOperator = await policy.can(actor, permissionAt.GRANT)
      if (!isOperator || !(await store.hasOrganization(sql, named))) throw noOrganization(named)
    }
    const organizationId = named ?? actor.organizationId
    if (userId !== null) {
      const of = organizationId ?? requireOrganization(actor)
      if (!(await findMember(sql, of, { userId }))) throw noMember(userId)
    }
    return { organizationId, userId }
  }

  async function view(actor: Actor, key: string, scope: store.PolicyScope): Promise<PolicyView> {
    const [found] = await viewsOf(actor, [key], scope)
    if (!found) throw new Error('there is a view of every key')
    return found
  }

  async function viewsOf(
    actor: Actor,
    keys: readonly string[],
    scope: store.PolicyScope,
  ): Promise<PolicyView[]> {
    const isOperator = await policy.can(actor, permissionAt.PLATFORM)
    const rows = await store.readSettings(sql, keys, scope)
    return keys.map((key) => ({
      key,
      ...scope,
      settings: levelsIn(key, scope, isOperator).map((level) => {
        const row = rows.find((it) => it.key === key && it.level === level)
        return {
          level,
          value: row?.value ?? null,
          version: Number(row?.version ?? 0),
          updatedAt: row?.updatedAt ?? null,
        }
      }),
    }))
  }
}

/** The levels of a policy that there are in a scope, and are to be seen. */
function levelsIn(
  key: string,
  { organizationId, userId }: store.PolicyScope,
  isOperator: boolean,
): PolicyLevel[] {
  const { levels, isPrivate } = policyOf(key)
  const isThere: Record<PolicyLevel, boolean> = {
    PLATFORM: isOperator || !isPrivate,
    GRANT: organizationId !== null,
    ORGANIZATION: organizationId !== null,
    USER: userId !== null,
  }
  return policyLevels.filter((level) => levels.includes(level) && isThere[level])
}

function versionOf(cursor: string): bigint {
  if (/^[1-9]\d{0,15}$/.test(cursor)) return BigInt(cursor)
  throw new DomainError('BAD_INPUT', '`after` is not a cursor of this list: leave it out')
}
