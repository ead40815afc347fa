import {
  GraphQLBoolean,
  GraphQLFloat,
  GraphQLID,
  GraphQLInt,
  type GraphQLLeafType,
  GraphQLString,
  isEnumType,
} from 'graphql'
import { quoted } from './json.ts'

/**
 * The JSON text of a leaf's value, which is not null.
 *
 * @throws what `serialize` of the type throws: a value that the type does not have
 */
export type WriteLeaf = (value: unknown) => string

/** As graphql-js serializes; what is usual goes without it. A custom scalar is any JSON. */
export function compileLeaf(type: GraphQLLeafType): WriteLeaf {
  const otherwise = (value: unknown) => JSON.stringify(type.serialize(value)) ?? 'null'
  if (isEnumType(type)) {
    const texts = new Map<unknown, string>(type.getValues().map((it) => [it.name, `"${it.name}"`]))
    return (value) => texts.get(value) ?? otherwise(value)
  }
  switch (type.name) {
    case GraphQLString.name:
    case GraphQLID.name:
      return (value) => (typeof value === 'string' ? quoted(value) : otherwise(value))
    case GraphQLInt.name:
      return (value) =>
        typeof value === 'number' && (value | 0) === value ? String(value | 0) : otherwise(value)
    case GraphQLFloat.name:
      return (value) =>
        typeof value === 'number' && Number.isFinite(value) && value !== 0
          ? String(value)
          : otherwise(value)
    case GraphQLBoolean.name:
      return (value) => (value === true ? 'true' : value === false ? 'false' : otherwise(value))
    default:
      return (value) => (typeof value === 'string' ? quoted(value) : otherwise(value))
  }
}
