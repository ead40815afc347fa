import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Log } from '@berth/platform/log'
import { createLru } from '@berth/platform/lru'
import { type ActionName, actions } from '@berth/schema/actions'
import type {
  Entities,
  EntityJson,
  PolicyJson,
  StatefulAuthorizationCall,
} from '@cedar-policy/cedar-wasm/nodejs'
import type { CallerAuthority, PolicyEngine, Question, RuleSet, Verdict } from '../port.ts'
import { createSlots } from '../slots.ts'
import { CedarCrash, createCedarInstance } from './instance.ts'
import { rulesProblems } from './rules.ts'

const schema = readFileSync(
  new URL(import.meta.resolve('@berth/schema/policy.cedarschema')),
  'utf8',
)

/** Rules that could not be evaluated are tried again after this. */
const BROKEN_MS = 30_000
const BROKEN = 1_000

/** What of the rules counts: all of them, or those that no facts could change for better or for worse. */
type Part = 'all' | 'best' | 'worst'

/**
 * Cedar in this process, parsed once for each set of rules. What it holds it never frees, so it holds
 * the rules in a bounded number of slots that are used again.
 *
 * @param slots with two sets of rules for each of many organizations, some tens of MiB
 */
export function createCedarEngine({
  log,
  slots: count = 512,
}: {
  log: Log
  slots?: number
}): PolicyEngine {
  const cedar = createCedarInstance()
  const trial = createCedarInstance()
  let slots = createSlots(count)
  const broken = createLru<string, number>(BROKEN)

  return {
    validate: async (rules, level) => rulesProblems(trial, schema, rules, level),
    evaluate: async (rules, question) => evaluate(rules, question),
  }

  function evaluate(rules: RuleSet, question: Question): Verdict {
    const part = typeof question.facts === 'string' ? question.facts : 'all'
    const key = keyOf(rules, part)
    if (performance.now() < (broken.get(key) ?? 0)) return 'error'
    try {
      return ask(callOf(load(key, rules, part), question), rules)
    } catch (error) {
      broken.set(key, performance.now() + BROKEN_MS)
      if (error instanceof CedarCrash) slots = createSlots(count)
      else slots.drop(key)
      log.error({ err: error, level: rules.level }, 'rules cannot be evaluated: all is denied')
      return 'error'
    }
  }

  /** @returns the name of the loaded set */
  function load(key: string, rules: RuleSet, part: Part): string {
    const { slot, isNew } = slots.of(key)
    const name = `slot-${slot}`
    if (!isNew) return name
    const staticPolicies = { ...rolePolicies(rules.roles), ...policiesOf(rules.rules, part) }
    const parsed = cedar.call((it) => it.preparsePolicySet(name, { staticPolicies }))
    if (parsed.type === 'success') return name
    throw new Error(parsed.errors.map(({ message }) => message).join('; '))
  }

  function policiesOf(rules: string, part: Part): Record<string, string | PolicyJson> {
    const parts = cedar.call((it) => it.policySetTextToParts(rules))
    if (parts.type === 'failure') throw new Error(parts.errors[0]?.message ?? 'unreadable rules')
    const policies = parts.policies.flatMap((text, i) => {
      const policy = part === 'all' ? text : withoutFacts(jsonOf(text), part)
      return policy === null ? [] : [[`rule ${i + 1}`, policy] as const]
    })
    return Object.fromEntries(policies)
  }

  function jsonOf(text: string): PolicyJson {
    const parsed = cedar.call((it) => it.policyToJson(text))
    if (parsed.type === 'success') return parsed.json
    throw new Error(parsed.errors[0]?.message ?? 'an unreadable policy')
  }

  function ask(call: StatefulAuthorizationCall, { level }: RuleSet): Verdict {
    const answer = cedar.call((it) => it.statefulIsAuthorized(call))
    if (answer.type === 'failure') {
      const { id: action } = call.action as { id: string }
      log.error({ errors: answer.errors.map(({ message }) => message), action }, 'not evaluated')
      return 'error'
    }
    const { decision, diagnostics } = answer.response
    // Cedar goes on without a policy that fails, which might have been the one that forbids.
    if (diagnostics.errors.length > 0) {
      const errors = diagnostics.errors.map(({ policyId, error }) => [policyId, error.message])
      log.warn({ errors, level }, 'a rule failed: denied')
      return 'error'
    }
    if (decision === 'allow') return 'permit'
    return diagnostics.reason.length > 0 ? 'forbid' : 'silent'
  }
}

const keys = new WeakMap<RuleSet, string>()

function keyOf(set: RuleSet, part: Part): string {
  const { level, roles, rules } = set
  const key = keys.get(set) ?? digest(JSON.stringify([level, roles, rules]))
  keys.set(set, key)
  // Without a word about facts, the three parts are one.
  return rules.includes('context') ? `${part} ${key}` : key
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64')
}

function rolePolicies(roles: RuleSet['roles']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(roles)
      .filter(([, permitted]) => permitted.length > 0)
      .map(([role, permitted]) => {
        const list = permitted.map((action) => `Action::${JSON.stringify(action)}`).join(', ')
        const text = `permit(principal in Role::${JSON.stringify(role)}, action in [${list}], resource);`
        return [`role ${role}`, text]
      }),
  )
}

/**
 * A policy as it would be if the facts were as favourable as can be (`best`) or the contrary. At best a
 * `permit` that reads them holds, and a `forbid` does not; at worst either refuses: with some facts the
 * condition of a `permit` fails, and what fails is a no.
 */
function withoutFacts(policy: PolicyJson, part: 'best' | 'worst'): PolicyJson | null {
  const conditions = policy.conditions.filter((it) => !readsFacts(it))
  if (conditions.length === policy.conditions.length) return policy
  if (part === 'worst') return { ...policy, effect: 'forbid', conditions }
  return policy.effect === 'permit' ? { ...policy, conditions } : null
}

function readsFacts(node: unknown): boolean {
  if (typeof node !== 'object' || node === null) return false
  return ('Var' in node && node.Var === 'context') || Object.values(node).some(readsFacts)
}

function callOf(
  preparsedPolicySetId: string,
  { authority, action, facts }: Question,
): StatefulAuthorizationCall {
  const principal = { type: principals[authority.kind], id: 'any' }
  const { on } = actions[action]
  const id = on === 'Organization' ? (authority.organizationId ?? 'none') : 'any'
  return {
    preparsedPolicySetId,
    principal,
    action: { type: 'Action', id: action },
    resource: { type: on, id },
    context: typeof facts === 'string' ? {} : { ...facts },
    entities: [callerOf(principal, authority), ...(actionEntities.get(action) ?? [])],
  }
}

const principals: Readonly<Record<CallerAuthority['kind'], string>> = {
  person: 'User',
  'api-key': 'ApiKey',
  service: 'Service',
  // Nothing that the schema knows: no rule that asks what the principal is applies.
  anonymous: 'Anonymous',
}

function callerOf(
  uid: EntityJson['uid'],
  { kind, organizationId, roles }: CallerAuthority,
): EntityJson {
  const parents = [
    ...roles.map((id) => ({ type: 'Role', id })),
    ...(organizationId ? [{ type: 'Organization', id: organizationId }] : []),
  ]
  return { uid, attrs: {}, parents: kind === 'service' ? [] : parents }
}

/** With the group that it is in: loaded rules know nothing of the schema. */
const actionEntities: ReadonlyMap<string, Entities> = new Map(
  (Object.keys(actions) as ActionName[]).map((name) => [
    name,
    [
      {
        uid: { type: 'Action', id: name },
        attrs: {},
        parents: [{ type: 'Action', id: `${name.split(':')[0]}:*` }],
      },
    ],
  ]),
)
