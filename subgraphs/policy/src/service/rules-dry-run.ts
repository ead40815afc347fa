import { setImmediate as turn } from 'node:timers/promises'
import { type Actor, OPERATOR_ROLE, requireOrganization } from '@berth/platform/actor'
import type { Sql } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import type { PolicyClient } from '@berth/platform/policy-client'
import { type ActionName, actionNames, isAction } from '@berth/schema/actions'
import { organizationRoles } from '@berth/schema/events/policy'
import { type PolicyLevel, permissionAt } from '../domain/policy-keys.ts'
import { decide, factsProblem, grantsOf, type Rules } from '../engine/decide.ts'
import type { CallerAuthority, Facts, PolicyEngine, RulesLevel } from '../engine/port.ts'
import type { DecisionRecord } from '../model.ts'
import { listDecisions } from '../store/decisions.ts'
import type { Decisions } from './decisions.ts'

/** `DEPENDS` on the facts of the single case. */
export type Outcome = 'GRANTED' | 'DEPENDS' | 'REFUSED'

export type RulesChange = Pick<CallerAuthority, 'kind' | 'roles'> & {
  readonly action: ActionName
  /** Empty when all facts are meant. */
  readonly facts: Facts
  readonly before: Outcome
  readonly after: Outcome
  /** Recent ones that were alike; 0 for a role that nobody has asked with. */
  readonly decisions: number
}

export type DryRun = {
  /** What is wrong with the rules; when anything is, nothing is tried. */
  readonly problems: readonly string[]
  /** Recent decisions that were made again. */
  readonly examined: number
  readonly changed: number
  /** The most frequent first. */
  readonly changes: readonly RulesChange[]
}

/** Tries rules before they are set. */
export type RulesDryRun = {
  /**
   * Makes the recent decisions again: with the rules that hold now, and with those that are to. Changes
   * nothing.
   *
   * @throws {DomainError} FORBIDDEN without the permission to set rules at this level, BAD_INPUT at a
   *   level that has none, RATE_LIMITED while others of theirs are being tried, or too many are
   */
  run(actor: Actor, input: { level: PolicyLevel; rules: string }): Promise<DryRun>
}

const RECENT = 300
const QUESTIONS = 100
const CHANGES = 50
/** Each keeps the process busy, for seconds where much is decided: one of an organization at a time. */
const AT_ONCE = 2

export function createRulesDryRun({
  sql,
  engine,
  decisions,
  policy,
}: {
  sql: Sql
  engine: PolicyEngine
  decisions: Pick<Decisions, 'rules'>
  policy: Pick<PolicyClient, 'can'>
}): RulesDryRun {
  /** Organizations; null: for the platform. */
  const running = new Set<Id<'org'> | null>()
  return {
    async run(actor, { level, rules }) {
      if (level !== 'PLATFORM' && level !== 'ORGANIZATION') {
        throw new DomainError(
          'BAD_INPUT',
          '`level` is PLATFORM or ORGANIZATION: no other has rules',
        )
      }
      if (!(await policy.can(actor, permissionAt[level]))) {
        throw new DomainError('FORBIDDEN', `To try rules at ${level} needs ${permissionAt[level]}`)
      }
      const organizationId = level === 'PLATFORM' ? null : requireOrganization(actor)
      if (running.has(organizationId) || running.size >= AT_ONCE) {
        throw new DomainError('RATE_LIMITED', 'Other rules are being tried: try again shortly', {
          retryAfterSeconds: 5,
        })
      }
      running.add(organizationId)
      try {
        return await examine(level, rules, organizationId)
      } finally {
        running.delete(organizationId)
      }
    },
  }

  async function examine(
    level: RulesLevel,
    rules: string,
    organizationId: Id<'org'> | null,
  ): Promise<DryRun> {
    const problems = await engine.validate(rules, level)
    if (problems.length > 0) return { problems, examined: 0, changed: 0, changes: [] }
    const page = { take: RECENT, after: null }
    const recent = await listDecisions(sql, organizationId ?? 'any', page)
    const questions = questionsOf(recent, level, organizationId)
    return { problems, ...(await tryOut(questions, level, rules)) }
  }

  async function tryOut(
    questions: readonly Asked[],
    level: RulesLevel,
    text: string,
  ): Promise<Omit<DryRun, 'problems'>> {
    const changes = new Map<string, RulesChange>()
    // One object for each organization's: what an engine made of it is used again.
    const nexts = new Map<Rules, Rules>()
    let examined = 0
    for (const asked of questions) {
      // The decisions of others are not to wait for all of these.
      await turn()
      const { rules } = await decisions.rules(asked.authority.organizationId)
      const changed = level === 'PLATFORM' ? { platform: text } : { organization: text }
      const next = nexts.get(rules) ?? { ...rules, ...changed }
      nexts.set(rules, next)
      const before = await outcomesOf(rules, asked)
      const after = await outcomesOf(next, asked)
      examined += asked.decisions * before.size
      for (const [action, was] of before) add(changes, asked, action, was, after.get(action) ?? was)
    }
    const list = [...changes.values()].sort((a, b) => b.decisions - a.decisions)
    const changed = list.reduce((sum, it) => sum + it.decisions, 0)
    return { examined, changed, changes: list.slice(0, CHANGES) }
  }

  async function outcomesOf(
    rules: Rules,
    { authority, action, facts }: Asked,
  ): Promise<Map<ActionName, Outcome>> {
    if (action !== null) {
      const { isGranted } = await decide(engine, rules, { authority, action, facts })
      return new Map([[action, isGranted ? 'GRANTED' : 'REFUSED']])
    }
    const { granted, dependent } = await grantsOf(engine, rules, authority)
    return new Map(
      actionNames.map((it) => [
        it,
        granted.includes(it) ? 'GRANTED' : dependent.includes(it) ? 'DEPENDS' : 'REFUSED',
      ]),
    )
  }
}

/** What was asked recently, and how often; of all actions at once when it names none. */
type Asked = {
  readonly authority: CallerAuthority
  readonly action: ActionName | null
  readonly facts: Facts
  readonly decisions: number
}

/** Those that were alike as one; and each role of the level, whether it asked lately or not. */
function questionsOf(
  recent: readonly DecisionRecord[],
  level: RulesLevel,
  organizationId: Id<'org'> | null,
): Asked[] {
  const found = new Map<string, Asked>()
  for (const role of rolesAt(level)) {
    const authority = { kind: 'person', organizationId, roles: [role] } as const
    addAsked({ authority, action: null, facts: {}, decisions: 0 })
  }
  for (const { kind, organizationId, roles, action, facts, weight } of recent) {
    const isGone = action !== null && (!isAction(action) || factsProblem(action, facts) !== null)
    if (isGone) continue
    const authority = { kind, organizationId, roles }
    addAsked({ authority, action: action as ActionName | null, facts, decisions: weight })
  }
  return [...found.values()].slice(0, QUESTIONS)

  function addAsked(asked: Asked): void {
    const { authority, action, facts } = asked
    const { kind, organizationId, roles } = authority
    const key = JSON.stringify([kind, organizationId, roles, action, Object.entries(facts).sort()])
    const decisions = asked.decisions + (found.get(key)?.decisions ?? 0)
    found.set(key, { ...asked, decisions })
  }
}

function rolesAt(level: RulesLevel): string[] {
  const roles = organizationRoles.map((it) => it.toLowerCase())
  return level === 'PLATFORM' ? [...roles, OPERATOR_ROLE] : roles
}

function add(
  changes: Map<string, RulesChange>,
  { authority: { kind, roles }, facts, decisions }: Asked,
  action: ActionName,
  before: Outcome,
  after: Outcome,
): void {
  if (before === after) return
  const key = JSON.stringify([kind, roles, action, facts, before, after])
  const sum = decisions + (changes.get(key)?.decisions ?? 0)
  changes.set(key, { kind, roles, action, facts, before, after, decisions: sum })
}
