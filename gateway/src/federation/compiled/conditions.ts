import { type ASTNode, type DirectiveNode, GraphQLError, Kind, visit } from 'graphql'

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
export function conditionVariables(nodes: readonly ASTNode[]): readonly string[] {
  const names = new Set<string>()
  for (const node of nodes) {
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
