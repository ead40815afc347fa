import { createHash, randomUUID } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { createLru } from '@berth/platform/lru'
import { actionNames, factsOf } from '@berth/schema/actions'
import {
  type CallerAuthority,
  type Facts,
  type PolicyEngine,
  type Question,
  type RuleSet,
  type RulesLevel,
  rulesLimits,
  type Verdict,
} from '../port.ts'
import { createSlots } from '../slots.ts'
import { createOpaClient, isObject, type OpaProblem } from './client.ts'
import { ANSWER, FIRST_LINE, moduleOf, reachProblems } from './module.ts'

const TIMEOUT_MS = 500
/** Rules that could not be evaluated are tried again after this: slow ones take no more than their share. */
const BROKEN_MS = 5_000
const BROKEN = 1_000
const TRIES = 3

/**
 * The Open Policy Agent behind its REST API: rules in Rego, `permit` and `forbid` over `input.principal`
 * (`kind`, `organization`, `roles`), `input.action` and `input.facts`.
 *
 * @param name of this process: two that share a server use each its own part of it
 * @param slots how many sets of rules it holds there at most
 */
export function createOpaEngine({
  url,
  name,
  log,
  slots: count = 64,
  timeoutMs = TIMEOUT_MS,
}: {
  url: string
  name: string
  log: Log
  slots?: number
  timeoutMs?: number
}): PolicyEngine {
  const opa = createOpaClient({ url, timeoutMs })
  const slots = createSlots(count)
  const broken = createLru<string, number>(BROKEN)
  /** What was last put into a slot: one after the other. */
  const puts = new Map<number, Promise<void>>()

  return { validate, evaluate }

  async function validate(rules: string, level: RulesLevel): Promise<readonly string[]> {
    const { characters } = rulesLimits[level]
    if (rules.length > characters) return [`Too long: at most ${characters} characters`]
    const id = randomUUID()
    try {
      return (await problemsOf(id, rules, level)).map((it) =>
        typeof it === 'string' ? it : messageOf(it),
      )
    } catch (cause) {
      if (cause instanceof DomainError) throw cause
      throw new DomainError('UNAVAILABLE', 'The policy engine cannot read the rules now', { cause })
    } finally {
      // Left behind, it would be evaluated by nobody.
      await opa
        .deletePolicy(id)
        .catch((err: unknown) => log.warn({ err }, 'a trial was left in OPA'))
    }
  }

  async function problemsOf(
    id: string,
    rules: string,
    level: RulesLevel,
  ): Promise<readonly (OpaProblem | string)[]> {
    const path = ['berth', name, `trial ${id}`]
    const mark = 'trial'
    const refused = await opa.putPolicy(id, moduleOf(path, { level, roles: {}, rules }, mark))
    if (refused.length > 0) return refused
    const reaching = reachProblems(await opa.compiled(id), path)
    return reaching.length > 0 ? reaching : trial(path, mark)
  }

  /** Whether they answer at all, and in time. */
  async function trial(path: readonly string[], mark: string): Promise<string[]> {
    const authority = { kind: 'person', organizationId: null, roles: ['owner'] } as const
    try {
      for (const action of actionNames) {
        await answerOf(path, mark, inputOf(authority, action, exampleOf(factsOf(action))))
      }
      return []
    } catch (error) {
      return [`They cannot be evaluated: ${error instanceof Error ? error.message : error}`]
    }
  }

  async function evaluate(rules: RuleSet, question: Question): Promise<Verdict> {
    const { authority, action, facts } = question
    const key = keyOf(rules)
    if (performance.now() < (broken.get(key) ?? 0)) return 'error'
    const isUnknown = typeof facts === 'string'
    // It cannot be told how the facts would matter, only whether they are read at all.
    const isFactual = isUnknown && /\bfacts\b/.test(rules.rules)
    if (isFactual && facts === 'worst') return 'forbid'
    if (isFactual && /\bpermit\b/.test(rules.rules)) return 'permit'
    try {
      const input = inputOf(authority, action, isUnknown ? {} : facts)
      const { permit, forbid } = await ask(rules, key, input)
      if (isFactual) return permit ? 'permit' : 'silent'
      return forbid ? 'forbid' : permit ? 'permit' : 'silent'
    } catch (error) {
      if (error instanceof DomainError) throw error
      broken.set(key, performance.now() + BROKEN_MS)
      log.error({ err: error, level: rules.level, action }, 'rules cannot be evaluated: denied')
      return 'error'
    }
  }

  /** Loads them first where they are not, which after a restart of the server they are nowhere. */
  async function ask(rules: RuleSet, key: string, input: unknown): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      const { slot, isNew } = slots.of(key)
      const path = ['berth', name, `slot ${slot}`]
      if (isNew) puts.set(slot, put(slot, path, rules, key))
      try {
        await puts.get(slot)
        return await answerOf(path, key, input)
      } catch (error) {
        slots.drop(key)
        if (!(error instanceof OtherRules) || attempt === TRIES) throw error
      }
    }
  }

  async function put(
    slot: number,
    path: readonly string[],
    rules: RuleSet,
    key: string,
  ): Promise<void> {
    await puts.get(slot)?.catch(() => undefined)
    const id = `${name}-${slot}`
    const refused = await opa.putPolicy(id, moduleOf(path, rules, key))
    if (refused.length > 0) throw new Error(refused.map(messageOf).join('; '))
  }

  async function answerOf(path: readonly string[], mark: string, input: unknown): Promise<Answer> {
    const answer = await opa.ask([...path, ANSWER], input)
    if (!isObject(answer) || answer.mark !== mark) throw new OtherRules('These are not the rules')
    if (typeof answer.role !== 'boolean') throw new Error('The answer is malformed')
    const permit = isTrue(answer.permit)
    return { permit: permit || answer.role, forbid: isTrue(answer.forbid) }
  }
}

type Answer = { readonly permit: boolean; readonly forbid: boolean }

/** The slot holds nothing, or has been given to others in the meantime. */
class OtherRules extends Error {
  override readonly name = 'OtherRules'
}

/** `[true]`, `[false]`, or `[]` when no rule applies. */
function isTrue(values: unknown): boolean {
  const [value, ...more] = Array.isArray(values) ? values : [null]
  if (more.length > 0 || (value !== undefined && typeof value !== 'boolean')) {
    throw new Error('`permit` and `forbid` are true or false')
  }
  return value === true
}

function inputOf(
  { kind, organizationId, roles }: CallerAuthority,
  action: string,
  facts: Facts,
): unknown {
  // A service acts for itself: whatever it says of roles is nobody's.
  const held = kind === 'service' ? [] : roles
  return { principal: { kind, organization: organizationId, roles: held }, action, facts }
}

function exampleOf(declared: ReturnType<typeof factsOf>): Facts {
  const values = { string: '', long: 1, boolean: false } as const
  return Object.fromEntries(
    Object.entries(declared).map(([name, { type }]) => [name, values[type]]),
  )
}

function keyOf({ level, roles, rules }: RuleSet): string {
  return createHash('sha256')
    .update(JSON.stringify([level, roles, rules]))
    .digest('base64')
}

function messageOf({ message, row, column }: OpaProblem): string {
  return row === undefined ? message : `line ${row - FIRST_LINE + 1}, column ${column}: ${message}`
}
