import type { Sql } from '@berth/platform/database'
import type { Id } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import { createLru } from '@berth/platform/lru'
import { isAction } from '@berth/schema/actions'
import type { decideAction, readGrants } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { RULES_POLICY } from '../domain/policy-keys.ts'
import { ROLES_POLICY, RolesPolicy } from '../domain/roles-policy.ts'
import {
  type Decision,
  decide,
  factsProblem,
  type Grants,
  grantsOf,
  type Rules,
} from '../engine/decide.ts'
import type { CallerAuthority, Facts, PolicyEngine } from '../engine/port.ts'
import type { DecisionVersions } from '../model.ts'
import { type RulesRow, readRules } from '../store/decisions.ts'
import type { DecisionLog } from './decision-log.ts'

/** Who may do what, by the roles and rules that are committed when it is asked. */
export type Decisions = {
  /** Answers `policies.grants`. @throws {DomainError} UNAVAILABLE when the engine cannot be asked */
  grants(authority: z.output<typeof readGrants.input>): Promise<Grants>
  /** Answers `policies.decide`. @throws {DomainError} UNAVAILABLE when the engine cannot be asked */
  decide(input: z.output<typeof decideAction.input>): Promise<{ isGranted: boolean }>
  /** The rules that decide for an organization, or for who acts for none. */
  rules(organizationId: Id<'org'> | null): Promise<CurrentRules>
}

export type CurrentRules = { readonly rules: Rules; readonly versions: DecisionVersions }

type Known = CurrentRules & { readonly stamps: string; readonly grants: Map<string, KnownGrants> }
type KnownGrants = { readonly answer: Promise<Grants>; until: number }

const ORGANIZATIONS = 1_000
const AUTHORITIES = 100
/** A rule that failed may not fail again. */
const GRANTS_MS = 5_000

export function createDecisions({
  sql,
  engine,
  decisionLog,
  log,
}: {
  sql: Sql
  engine: PolicyEngine
  decisionLog: DecisionLog
  log: Log
}): Decisions {
  const known = createLru<string, Known>(ORGANIZATIONS)

  return {
    async grants({ kind, organizationId, roles }) {
      const authority = { kind, organizationId, roles }
      const current = await currentOf(organizationId)
      const { granted, dependent } = await grantsBy(current, authority)
      const told = { action: null, facts: {}, isGranted: null, basis: null, granted, dependent }
      decisionLog.tell({ authority, ...told, versions: current.versions })
      return { granted, dependent }
    },

    async decide({ kind, organizationId, roles, action, facts: listed }) {
      const authority = { kind, organizationId, roles }
      const facts = Object.fromEntries(listed.map(({ name, value }) => [name, value]))
      const { rules, versions } = await currentOf(organizationId)
      const decision = await decideOne(rules, authority, action, facts)
      const none = { granted: null, dependent: null }
      decisionLog.tell({ authority, action, facts, ...none, ...decision, versions })
      return { isGranted: decision.isGranted }
    },

    rules: currentOf,
  }

  async function decideOne(
    rules: Rules,
    authority: CallerAuthority,
    action: string,
    facts: Facts,
  ): Promise<Decision> {
    const problem = isAction(action) ? factsProblem(action, facts) : 'there is no such action'
    if (isAction(action) && problem === null) {
      return decide(engine, rules, { authority, action, facts })
    }
    // Whoever asks wrongly has a bug, and gets no permission by it.
    log.error({ action, problem }, 'a decision was asked for wrongly: denied')
    return { isGranted: false, basis: 'ERROR' }
  }

  /** Those who ask for the same at the same time share one answer. */
  function grantsBy({ rules, grants }: Known, authority: CallerAuthority): Promise<Grants> {
    const key = JSON.stringify([authority.kind, [...authority.roles].sort()])
    const found = grants.get(key)
    if (found && performance.now() < found.until) return found.answer
    if (grants.size >= AUTHORITIES) grants.clear()
    const answer = grantsOf(engine, rules, authority)
    const entry = { answer, until: Number.POSITIVE_INFINITY }
    grants.set(key, entry)
    answer.then(
      () => {
        entry.until = performance.now() + GRANTS_MS
      },
      () => grants.delete(key),
    )
    return answer
  }

  /** What is committed now: read each time, and parsed again when a version is another one. */
  async function currentOf(organizationId: Id<'org'> | null): Promise<Known> {
    const slot = organizationId ?? ''
    const held = known.get(slot)
    if (held) {
      const rows = await readRules(sql, organizationId, { withValues: false })
      if (held.stamps === stampsOf(rows)) return held
    }
    const rows = await readRules(sql, organizationId, { withValues: true })
    const current: Known = {
      stamps: stampsOf(rows),
      grants: new Map(),
      rules: rulesOf(rows),
      versions: versionsOf(rows),
    }
    known.set(slot, current)
    return current
  }

  function rulesOf(rows: readonly RulesRow[]): Rules {
    const roles = RolesPolicy.safeParse(settingOf(rows, ROLES_POLICY, 'PLATFORM') ?? {})
    if (!roles.success)
      log.error({ err: roles.error }, `${ROLES_POLICY} is malformed: it grants none`)
    return {
      roles: roles.success ? roles.data : {},
      platform: textOf(settingOf(rows, RULES_POLICY, 'PLATFORM')),
      organization: textOf(settingOf(rows, RULES_POLICY, 'ORGANIZATION')),
    }
  }
}

function stampsOf(rows: readonly RulesRow[]): string {
  return rows.map(({ stamp }) => stamp).join()
}

function versionsOf(rows: readonly RulesRow[]): DecisionVersions {
  const version = (key: string, level: RulesRow['level']) =>
    Number(rows.find((it) => it.key === key && it.level === level)?.version ?? 0)
  return {
    roles: version(ROLES_POLICY, 'PLATFORM'),
    platform: version(RULES_POLICY, 'PLATFORM'),
    organization: version(RULES_POLICY, 'ORGANIZATION'),
  }
}

function settingOf(rows: readonly RulesRow[], key: string, level: RulesRow['level']): unknown {
  return rows.find((it) => it.key === key && it.level === level)?.value
}

/** What is no text is no rules that an engine could read: it says so, and denies. */
function textOf(value: unknown): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}
