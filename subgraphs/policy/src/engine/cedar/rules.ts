import type { DetailedError, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs'
import { type RulesLevel, rulesLimits } from '../port.ts'
import { CedarCrash, type CedarInstance } from './instance.ts'

/** Of nested expressions. The stack is good for more than twice as many. */
const DEPTH = 40
const MESSAGES = 20

/** Types whose single members no rule may name, and what to do instead. */
const nameless: Readonly<Record<string, string>> = {
  User: 'Rules name no single person: remove the member, or give them another role',
  ApiKey: 'Rules name no single API key: revoke it',
  Service: 'Rules name no single service',
}

/**
 * What is wrong with rules, each with its line: as Cedar says it of a strict validation against the
 * schema, and what we ask beyond that.
 *
 * @param cedar one that decides nothing: the rules may crash it
 */
export function rulesProblems(
  cedar: CedarInstance,
  schema: string,
  rules: string,
  level: RulesLevel,
): string[] {
  const { characters, policies: count } = rulesLimits[level]
  if (rules.length > characters) return [`Too long: at most ${characters} characters`]
  try {
    return cedar.call((it) => {
      const parts = it.policySetTextToParts(rules)
      if (parts.type === 'failure') return parts.errors.map((error) => messageOf(rules, error))
      if (parts.policy_templates.length > 0) return ['Templates (`?principal`) are not supported']
      if (parts.policies.length > count) return [`Too many policies: at most ${count}`]
      for (const text of parts.policies) {
        const parsed = it.policyToJson(text)
        if (parsed.type === 'failure') return parsed.errors.map(({ message }) => message)
        const own = ownProblem(parsed.json)
        if (own) return [`line ${1 + linesBefore(rules, rules.indexOf(text))}: ${own}`]
      }
      const answer = it.validate({ schema, policies: { staticPolicies: rules } })
      if (answer.type === 'failure') return answer.errors.map((error) => messageOf(rules, error))
      const errors = answer.validationErrors.map(({ error }) => messageOf(rules, error))
      // A rule that can never apply protects nobody, whatever its author believes.
      const warnings = answer.validationWarnings.map(({ error }) => messageOf(rules, error))
      return shortened(errors.length > 0 ? errors : warnings)
    })
  } catch (error) {
    if (!(error instanceof CedarCrash)) throw error
    return ['Nested too deeply: write it flatter, or as several policies']
  }
}

function ownProblem(policy: PolicyJson): string | undefined {
  const { depth, named } = survey(policy)
  if (depth > DEPTH) return `nested too deeply: at most ${DEPTH} levels`
  return named && nameless[named]
}

/** How deep it goes, and the type of a single entity in it that rules cannot name. */
function survey(node: unknown, depth = 0): { depth: number; named?: string } {
  if (typeof node !== 'object' || node === null) return { depth }
  const { type, id } = node as { type?: unknown; id?: unknown }
  if (typeof type === 'string' && typeof id === 'string' && Object.hasOwn(nameless, type)) {
    return { depth, named: type }
  }
  let deepest = depth
  for (const child of Object.values(node)) {
    // `{left, right}` under its operator is one level and not two.
    const below = survey(child, Array.isArray(child) || isOperands(child) ? depth : depth + 1)
    if (below.named) return below
    deepest = Math.max(deepest, below.depth)
  }
  return { depth: deepest }
}

function isOperands(node: unknown): boolean {
  return typeof node === 'object' && node !== null && ('left' in node || 'arg' in node)
}

/** `line 3, column 5: unrecognized action …: did you mean …?` */
function messageOf(rules: string, { message, help, sourceLocations }: DetailedError): string {
  const start = sourceLocations?.[0]?.start
  const said = message
    .replace(/^failed to parse policies from string: /, '')
    .replace(/^for policy `[^`]*`[,:] /, '')
  const text = help ? `${said} (${help})` : said
  return start === undefined ? text : `${placeOf(rules, start)}: ${text}`
}

function placeOf(rules: string, byte: number): string {
  const before = Buffer.from(rules).subarray(0, byte).toString()
  const column = before.length - before.lastIndexOf('\n')
  return `line ${1 + linesBefore(before, before.length)}, column ${column}`
}

function linesBefore(text: string, end: number): number {
  return text.slice(0, end).split('\n').length - 1
}

/** One for each place: what is wrong for one action there is wrong for all. */
function shortened(messages: readonly string[]): string[] {
  const byPlace = new Map(messages.toReversed().map((it) => [it.split(': ')[0], it]))
  return [...byPlace.values()].toReversed().slice(0, MESSAGES)
}
