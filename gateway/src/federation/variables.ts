import {
  GraphQLBoolean,
  GraphQLFloat,
  GraphQLID,
  GraphQLInt,
  type GraphQLSchema,
  GraphQLString,
  getVariableValues,
  Kind,
  type OperationDefinitionNode,
  type TypeNode,
} from 'graphql'
import { withoutSuggestions } from '../admit/suggestions.ts'

export type Coerced = ReturnType<typeof getVariableValues>

/** The values of an operation's variables, as graphql-js coerces them (specification, 6.1.2). */
export type Coerce = (
  definition: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
) => Coerced

/**
 * Values of the built-in scalars that are of their type are taken as they are; whatever else there
 * is, an operation with it is graphql-js's.
 *
 * @param hideSchema names of the schema are not suggested
 */
export function createCoerce(
  schema: GraphQLSchema,
  { hideSchema = false }: { hideSchema?: boolean } = {},
): Coerce {
  const plain = new WeakMap<OperationDefinitionNode, readonly Plain[] | null>()

  return (definition, variables) => {
    let all = plain.get(definition)
    if (all === undefined) {
      all = plainOf(schema, definition)
      plain.set(definition, all)
    }
    const coerced = all && taken(all, variables)
    if (coerced) return { coerced }
    const result = getVariableValues(schema, definition.variableDefinitions ?? [], variables)
    if (!hideSchema || !result.errors) return result
    return { errors: result.errors.map(withoutSuggestions) }
  }
}

type Plain = { readonly name: string; readonly isOf: (value: unknown) => boolean }

/** Null when one is not of a built-in scalar. */
function plainOf(
  schema: GraphQLSchema,
  { variableDefinitions = [] }: OperationDefinitionNode,
): Plain[] | null {
  const all: Plain[] = []
  for (const { variable, type } of variableDefinitions) {
    const isOf = SCALARS.get(schema.getType(nameOf(type)))
    if (!isOf) return null
    all.push({ name: variable.name.value, isOf })
  }
  return all
}

function nameOf(type: TypeNode): string {
  const named = type.kind === Kind.NON_NULL_TYPE ? type.type : type
  return named.kind === Kind.NAMED_TYPE ? named.name.value : ''
}

function taken(
  all: readonly Plain[],
  variables: Readonly<Record<string, unknown>>,
): Record<string, unknown> | null {
  const coerced: Record<string, unknown> = Object.create(null)
  for (const { name, isOf } of all) {
    if (!Object.hasOwn(variables, name)) return null
    const value = variables[name]
    if (!isOf(value)) return null
    coerced[name] = value
  }
  return coerced
}

/** Whether a value is one that `parseValue` of the type gives back as it is. */
const SCALARS: ReadonlyMap<unknown, Plain['isOf']> = new Map<unknown, Plain['isOf']>([
  [GraphQLInt, (value) => typeof value === 'number' && (value | 0) === value],
  [GraphQLFloat, (value) => typeof value === 'number' && Number.isFinite(value)],
  [GraphQLString, isText],
  [GraphQLID, isText],
  [GraphQLBoolean, (value) => typeof value === 'boolean'],
])

function isText(value: unknown): boolean {
  return typeof value === 'string'
}
