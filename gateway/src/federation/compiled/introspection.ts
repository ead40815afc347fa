import {
  executeSync,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  Kind,
  type OperationDefinitionNode,
} from 'graphql'
import type { Run } from './run.ts'

/** `__schema` or `__type`, of the schema that clients see: graphql-js knows best. */
export function compileIntrospection(
  schema: GraphQLSchema,
  definition: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  nodes: readonly FieldNode[],
): (run: Run) => string | undefined {
  // Whether the fields themselves are wanted is known already.
  const selections = nodes.map((it) => ({ ...it, directives: [] }))
  const document = {
    kind: Kind.DOCUMENT,
    definitions: [
      { ...definition, selectionSet: { kind: Kind.SELECTION_SET, selections } },
      ...fragments.values(),
    ],
  } as const
  const [first] = nodes
  const key = first?.alias?.value ?? first?.name.value ?? ''
  return (run) => {
    const { data, errors } = executeSync({ schema, document, variableValues: run.variables })
    if (errors) run.errors.push(...errors)
    const value = data?.[key] ?? null
    return value === null && errors ? undefined : JSON.stringify(value)
  }
}
