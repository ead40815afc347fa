import {
  type GraphQLNamedType,
  GraphQLSchema,
  getNamedType,
  isAbstractType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
} from 'graphql'

/** A schema without the types that nothing leads to. */
export function withoutUnreachable(schema: GraphQLSchema): GraphQLSchema {
  const found = reachableTypes(schema)
  return new GraphQLSchema({
    ...schema.toConfig(),
    types: Object.values(schema.getTypeMap()).filter((it) => found.has(it)),
  })
}

/**
 * The types that an operation or a directive leads to.
 *
 * @param by which way counts: by all that is asked and answered, or by `answers` alone
 */
export function reachableTypes(
  schema: GraphQLSchema,
  by: 'all' | 'answers' = 'all',
): ReadonlySet<GraphQLNamedType> {
  const found = new Set<GraphQLNamedType>()
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]
  for (const it of roots) if (it) visit(it)
  if (by === 'all') {
    for (const { args } of schema.getDirectives()) for (const it of args) visit(it.type)
  }
  return found

  function visit(type: Parameters<typeof getNamedType>[0]): void {
    const named = getNamedType(type)
    if (!named || found.has(named)) return
    found.add(named)
    if (isAbstractType(named)) for (const it of schema.getPossibleTypes(named)) visit(it)
    if (isObjectType(named) || isInterfaceType(named)) {
      for (const it of named.getInterfaces()) visit(it)
      for (const field of Object.values(named.getFields())) {
        visit(field.type)
        if (by === 'all') for (const it of field.args) visit(it.type)
      }
    }
    if (isInputObjectType(named)) for (const it of Object.values(named.getFields())) visit(it.type)
  }
}
