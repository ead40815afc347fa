import {
  astFromValue,
  type DocumentNode,
  type FieldDefinitionNode,
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  isRequiredArgument,
  isSpecifiedDirective,
  Kind,
  print,
  visit,
} from 'graphql'

/** What can be deprecated. */
export type Element = {
  readonly kind: 'field' | 'argument' | 'inputField' | 'value'
  /** Of its deprecation, the reason. */
  readonly deprecated: string | undefined
  /** As SDL has it; none of a value. */
  readonly type?: string
  readonly isRequired?: boolean
  /** As SDL has it. */
  readonly default?: string | undefined
}

/** Every field, argument, input field and enum value, by its coordinate: `Type.field(argument:)`. */
export function elementsOf(schema: GraphQLSchema): ReadonlyMap<string, Element> {
  const all = new Map<string, Element>()
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type)) continue
    if (isEnumType(type)) {
      for (const it of type.getValues()) {
        all.set(`${type.name}.${it.name}`, { kind: 'value', deprecated: reasonOf(it) })
      }
    } else if (isInputObjectType(type)) {
      for (const it of Object.values(type.getFields())) {
        all.set(`${type.name}.${it.name}`, { kind: 'inputField', ...input(it) })
      }
    } else if (isObjectType(type) || isInterfaceType(type)) {
      for (const it of Object.values(type.getFields())) {
        const at = `${type.name}.${it.name}`
        all.set(at, { kind: 'field', deprecated: reasonOf(it), type: String(it.type) })
        for (const arg of it.args)
          all.set(`${at}(${arg.name}:)`, { kind: 'argument', ...input(arg) })
      }
    }
  }
  for (const directive of schema.getDirectives()) {
    if (isSpecifiedDirective(directive)) continue
    for (const it of directive.args) {
      all.set(`@${directive.name}(${it.name}:)`, { kind: 'argument', ...input(it) })
    }
  }
  return all
}

/**
 * A document without some of its elements. A type may be left with none.
 *
 * @param gone coordinates, as {@link elementsOf} has them
 */
export function withoutElements(document: DocumentNode, gone: ReadonlySet<string>): DocumentNode {
  const members = <T extends { readonly name: { readonly value: string } }>(
    type: string,
    list: readonly T[] = [],
  ) => list.filter((it) => !gone.has(`${type}.${it.name.value}`))
  const fields = (type: string, list?: readonly FieldDefinitionNode[]) =>
    members(type, list).map((field) => ({
      ...field,
      arguments: (field.arguments ?? []).filter(
        (it) => !gone.has(`${type}.${field.name.value}(${it.name.value}:)`),
      ),
    }))
  return visit(document, {
    [Kind.OBJECT_TYPE_DEFINITION]: (it) => ({ ...it, fields: fields(it.name.value, it.fields) }),
    [Kind.INTERFACE_TYPE_DEFINITION]: (it) => ({ ...it, fields: fields(it.name.value, it.fields) }),
    [Kind.INPUT_OBJECT_TYPE_DEFINITION]: (it) => ({
      ...it,
      fields: members(it.name.value, it.fields),
    }),
    [Kind.ENUM_TYPE_DEFINITION]: (it) => ({ ...it, values: members(it.name.value, it.values) }),
  })
}

function input(it: GraphQLArgument | GraphQLInputField) {
  const value = it.defaultValue === undefined ? undefined : astFromValue(it.defaultValue, it.type)
  return {
    deprecated: reasonOf(it),
    type: String(it.type),
    isRequired: isRequiredArgument(it as GraphQLArgument),
    default: value ? print(value) : undefined,
  }
}

function reasonOf(it: { readonly deprecationReason?: string | null | undefined }) {
  return it.deprecationReason ?? undefined
}
