import {
  type ASTNode,
  BREAK,
  type DirectiveNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  visit,
} from 'graphql'
import { usedBy } from './fragments.ts'

/** Whether a selection with these directives is part of the answer (GraphQL specification, 3.13). */
export function isIncluded(
  directives: readonly DirectiveNode[] | undefined,
  variables: Readonly<Record<string, unknown>>,
): boolean {
  if (!directives) return true
  for (const { name, arguments: given } of directives) {
    if (name.value !== 'skip' && name.value !== 'include') continue
    const value = given?.find((it) => it.name.value === 'if')?.value
    const is =
      value?.kind === Kind.VARIABLE
        ? variables[value.name.value] === true
        : value?.kind === Kind.BOOLEAN && value.value
    if (is === (name.value === 'skip')) return false
  }
  return true
}

/** The variables that decide what is part of the answer, in a fixed order. */
export function conditionVariables({ definition, fragments }: Resolved): readonly string[] {
  const names = new Set<string>()
  for (const node of [definition, ...fragments.values()]) {
    visit(node, {
      Directive({ name, arguments: given = [] }) {
        if (name.value !== 'skip' && name.value !== 'include') return
        for (const { value } of given) if (value.kind === Kind.VARIABLE) names.add(value.name.value)
      },
    })
  }
  return [...names].sort()
}

/**
 * The values of those variables, as a key; the error of one with a default that was given as null,
 * which no rule finds beforehand.
 */
export function conditionKey(
  names: readonly string[],
  variables: Readonly<Record<string, unknown>>,
): string | GraphQLError {
  let key = ''
  for (const name of names) {
    const value = variables[name]
    if (typeof value !== 'boolean') {
      return new GraphQLError(
        `Argument "if" of non-null type "Boolean!" must not be null: it is the variable "$${name}".`,
      )
    }
    key += value ? '1' : '0'
  }
  return key
}

/** Keeps what was made for values of the conditions of one operation; of many, the latest. */
export function createKept<T>(): (key: string, make: () => T) => T {
  const kept = new Map<string, T>()
  return (key, make) => {
    const known = kept.get(key)
    if (known !== undefined) return known
    const made = make()
    const [oldest] = kept.keys()
    if (kept.size >= MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    kept.set(key, made)
    return made
  }
}

const MAX_KEPT = 32

/** An operation and the fragments that it uses. */
export type Resolved = {
  readonly definition: OperationDefinitionNode
  readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>
}

/**
 * The operation for given values of its conditions: what is skipped is not there, so that selections
 * may be empty. The planner merges what is under a condition with what is not, and then plans for
 * neither rightly; of two mutations that are one, it makes two.
 */
export function resolveConditions(
  { definition, fragments }: Resolved,
  variables: Readonly<Record<string, unknown>>,
): Resolved {
  if (!hasConditions([definition, ...fragments.values()])) {
    return { definition, fragments }
  }
  const selection = <T extends SelectionNode>(node: T): T | null | undefined => {
    if (!node.directives || node.directives.length === 0) return undefined
    if (!isIncluded(node.directives, variables)) return null
    return { ...node, directives: node.directives.filter((it) => !isCondition(it)) }
  }
  const resolve = <T extends ASTNode>(node: T): T =>
    visit(node, {
      Field: { enter: selection },
      InlineFragment: { enter: selection },
      FragmentSpread: { enter: selection },
    })
  const all = new Map<string, FragmentDefinitionNode>()
  for (const [name, it] of fragments) all.set(name, resolve(it))
  const resolved = resolve(definition)
  const used = usedBy(resolved, all)
  const names = new Set<string>()
  for (const it of [resolved, ...used.values()]) {
    visit(it, {
      VariableDefinition: () => false,
      Variable: ({ name }) => void names.add(name.value),
    })
  }
  const variableDefinitions = resolved.variableDefinitions?.filter((it) =>
    names.has(it.variable.name.value),
  )
  return {
    definition: { ...resolved, ...(variableDefinitions ? { variableDefinitions } : {}) },
    fragments: used,
  }
}

function isCondition({ name: { value } }: DirectiveNode): boolean {
  return value === 'skip' || value === 'include'
}

function hasConditions(nodes: readonly ASTNode[]): boolean {
  let has = false
  for (const node of nodes) {
    visit(node, {
      Directive(it) {
        if (!isCondition(it)) return undefined
        has = true
        return BREAK
      },
    })
  }
  return has
}
