import type { RuleSet } from '../port.ts'
import { isObject, type OpaProblem } from './client.ts'

/** The rule that is asked for; what is named so by no author. */
export const ANSWER = 'berth_answer'

/**
 * Rules as a module of their own package.
 *
 * @param mark comes back in each answer, and tells that these are the rules that gave it
 */
export function moduleOf(path: readonly string[], { roles, rules }: RuleSet, mark: string): string {
  const here = `data${path.map((it) => `[${JSON.stringify(it)}]`).join('')}`
  // Apart from the rules' own: OPA looks no further than the first `permit`, and would not see that
  // another one fails.
  const byRole = Object.entries(roles)
    .filter(([, permitted]) => permitted.length > 0)
    .map(
      ([role, permitted]) =>
        `berth_role if { ${JSON.stringify(role)} in input.principal.roles; ` +
        `input.action in {${permitted.map((it) => JSON.stringify(it)).join(', ')}} }`,
    )
  const answer =
    `${ANSWER} := {"mark": ${JSON.stringify(mark)}, "role": berth_role, ` +
    `"permit": [it | it := ${here}.permit], "forbid": [it | it := ${here}.forbid]}`
  const [root, ...rest] = path
  const name = `${root}${rest.map((it) => `[${JSON.stringify(it)}]`).join('')}`
  const head = [`package ${name}`, answer, 'default berth_role := false', ...byRole]
  return [...head, rules, ''].join('\n')
}

/** Where the rules begin in a module without roles. */
export const FIRST_LINE = 4

/** Built-in functions that depend on what they are given and nothing else, and take no time to speak of. */
const BUILTINS = new Set(
  (
    'eq equal neq gt gte lt lte plus minus mul div rem abs ceil floor round count sum min max ' +
    'and or intersection union contains startswith endswith lower upper trim trim_space split ' +
    'concat indexof substring sprintf object.get array.concat net.cidr_contains ' +
    'is_string is_number is_boolean is_array is_set is_object internal.member_2 internal.member_3 assign'
  ).split(' '),
)
const INPUT = new Set(['principal', 'action', 'facts'])

/**
 * What rules reach for that is none of theirs: another's rules, the network, the server's environment,
 * the time.
 *
 * @param compiled the module in OPA's JSON: every name in it is written out
 */
export function reachProblems(compiled: unknown, path: readonly string[]): OpaProblem[] {
  const found = new Set<string>()
  walk(compiled)
  return [...found].map((message) => ({ message }))

  function walk(node: unknown): void {
    if (Array.isArray(node)) for (const each of node) walk(each)
    if (!isObject(node)) return
    if (node.type === 'ref' && Array.isArray(node.value)) check(node.value.filter(isObject))
    for (const [name, each] of Object.entries(node)) {
      // The heads of rules are names and no references, and the package is ours.
      if (name !== 'package' && name !== 'ref') walk(each)
    }
  }

  function check([head, ...rest]: Record<string, unknown>[]): void {
    const names = rest.map(({ type, value }) => (type === 'string' ? String(value) : null))
    if (head?.type !== 'var' || String(head.value).startsWith('__local')) return
    if (head.value === 'data') {
      if (path.some((it, i) => names[i] !== it)) found.add('`data` is of no use here')
    } else if (head.value === 'input') {
      const [name] = names
      if (name == null || !INPUT.has(name)) {
        found.add('`input` has `principal`, `action` and `facts`: name the one that you mean')
      }
    } else {
      const name = [head.value, ...names].join('.')
      if (!BUILTINS.has(name)) found.add(`\`${name}\` may not be used`)
    }
  }
}
