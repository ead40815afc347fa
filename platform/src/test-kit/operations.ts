import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
} from 'graphql'

/** An argument or a field of an input, by where it stands: `Mutation.policySet.input.level`. */
export type Place = { readonly path: string; readonly type: GraphQLInputType }

/** A literal for an argument, `undefined` for one that is left to be made, or left out. */
export type Given = (place: Place) => string | undefined

/**
 * A selection of a field with arguments that are valid by their types: those that it must have, and
 * those that are given. Of an object `__typename` is selected, unless said otherwise.
 *
 * @param on the type that has the field
 */
export function selectionOf(
  on: GraphQLObjectType,
  field: GraphQLField<unknown, unknown>,
  given: Given = () => undefined,
  below = '{ __typename }',
): string {
  const args = literals(field.args, `${on.name}.${field.name}`, given)
  const list = args.length > 0 ? `(${args.join(', ')})` : ''
  return `${field.name}${list} ${isCompositeType(getNamedType(field.type)) ? below : ''}`.trim()
}

/** Every argument of a field, and every field of its inputs. */
export function placesOf(on: GraphQLObjectType, field: GraphQLField<unknown, unknown>): Place[] {
  const within = (path: string, type: GraphQLInputType): Place[] => {
    const named = getNamedType(type)
    const fields = isInputObjectType(named) ? Object.values(named.getFields()) : []
    return [{ path, type }, ...fields.flatMap((it) => within(`${path}.${it.name}`, it.type))]
  }
  return field.args.flatMap((it) => within(`${on.name}.${field.name}.${it.name}`, it.type))
}

/** The object types that the SDL has, without those that federation adds. */
export function objectTypes(schema: GraphQLSchema): GraphQLObjectType[] {
  return Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter(({ name }) => !name.startsWith('_'))
}

/** The fields that the SDL has, without those that federation adds. */
export function fieldsOf(type: GraphQLObjectType): GraphQLField<unknown, unknown>[] {
  return Object.values(type.getFields()).filter(({ name }) => !name.startsWith('_'))
}

/** The fields of a type's keys, where a subgraph loads it by reference; else null. */
export function keyOf(type: GraphQLObjectType): string[] | null {
  const nodes = [type.astNode, ...type.extensionASTNodes]
  const keys = nodes
    .flatMap((it) => it?.directives ?? [])
    .filter(({ name }) => name.value === 'key')
  const fields = keys.flatMap(({ arguments: args = [] }) => {
    const values = Object.fromEntries(args.map((it) => [it.name.value, it.value]))
    const { resolvable, fields: named } = values
    if (resolvable?.kind === 'BooleanValue' && !resolvable.value) return []
    return named?.kind === 'StringValue' ? named.value.split(/\s+/) : []
  })
  return fields.length > 0 ? fields : null
}

function literals(
  inputs: readonly (GraphQLArgument | GraphQLInputField)[],
  path: string,
  given: Given,
): string[] {
  return inputs.flatMap((it) => {
    const value = literalOf({ path: `${path}.${it.name}`, type: it.type }, given, it.defaultValue)
    return value === undefined ? [] : [`${it.name}: ${value}`]
  })
}

function literalOf(place: Place, given: Given, preset?: unknown): string | undefined {
  const { path, type } = place
  const said = given(place)
  if (said !== undefined) return said
  const named = getNamedType(type)
  const inner = isInputObjectType(named)
    ? literals(Object.values(named.getFields()), path, given)
    : []
  const isNeeded = isNonNullType(type) && preset === undefined
  if (!isNeeded && inner.length === 0) return undefined
  if (isInputObjectType(named)) return listed(type, `{ ${inner.join(', ')} }`)
  if (isEnumType(named)) return listed(type, named.getValues()[0]?.name ?? 'null')
  return listed(type, VALUES[named.name] ?? '"a test"')
}

const VALUES: Readonly<Record<string, string>> = {
  Int: '1',
  Float: '1',
  Boolean: 'true',
  JSON: '{}',
  DateTime: '"2026-01-31T09:30:00.000Z"',
}

function listed(type: GraphQLInputType, value: string): string {
  const bare = isNonNullType(type) ? type.ofType : type
  return isListType(bare) ? `[${value}]` : value
}
