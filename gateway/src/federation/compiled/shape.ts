import {
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLOutputType,
  isAbstractType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  type SelectionSetNode,
} from 'graphql'
import { compileIntrospection } from './introspection.ts'
import { isInherited, type JsonObject, read } from './json.ts'
import { isExplained, type Run, report } from './run.ts'
import { collect, fieldOf, type Selected } from './selections.ts'
import { compileLeaf } from './values.ts'

/**
 * The JSON text of a value that is there; undefined when it must be null, of which an error tells.
 * Where it stands is in the first places of `run.path`.
 */
type Write = (value: unknown, run: Run) => string | undefined

/**
 * The answer of an operation, written in one pass from what its plan brought, and completed as the
 * GraphQL specification says (6.4.3, 6.4.4): nulls rise to what may be null, values that the schema
 * does not allow are errors. It is compiled for given values of the variables that `@skip` and
 * `@include` depend on: nothing is decided field by field.
 */
export function compileShape(selected: Selected): (run: Run) => string {
  const { schema, definition, fragments, inData } = selected
  const root = schema.getRootType(definition.operation)
  if (!root) throw new TypeError(`there is no root of a ${definition.operation}`)
  const ids = new Map<SelectionSetNode, number>()
  const memo = new Map<string, Write>()
  const write = objectOf(root, [definition.selectionSet], 0)
  return (run) => write(run.data, run) ?? 'null'

  /** Once for each type and selections: fragments on abstract types lead to the same ones often. */
  function composite(
    type: GraphQLCompositeType,
    sets: readonly SelectionSetNode[],
    place: Place,
  ): Write {
    const key = `${type.name} ${place.depth} ${place.name} ${sets.map(idOf).join(' ')}`
    let write = memo.get(key)
    if (!write) {
      write = isAbstractType(type)
        ? abstractOf(type, sets, place)
        : objectOf(type, sets, place.depth)
      memo.set(key, write)
    }
    return write
  }

  function idOf(set: SelectionSetNode): number {
    const id = ids.get(set) ?? ids.size
    ids.set(set, id)
    return id
  }

  function abstractOf(
    type: GraphQLCompositeType,
    sets: readonly SelectionSetNode[],
    place: Place,
  ): Write {
    const writers = new Map<unknown, Write>()
    return (value, run) => {
      const typename = (value as JsonObject).__typename
      let write = writers.get(typename)
      if (!write) {
        write = concrete(typename)
        // What a subgraph makes up is not kept.
        if (typename === undefined || schema.getType(String(typename))) writers.set(typename, write)
      }
      return write(value, run)
    }

    function concrete(typename: unknown): Write {
      if (isInterfaceType(type) && (typename === undefined || typename === type.name)) {
        return objectOf(type, sets, place.depth)
      }
      const named = typeof typename === 'string' ? schema.getType(typename) : undefined
      if (!isObjectType(named)) {
        return refuse(place, `Invalid __typename found for object at field ${place.name}.`)
      }
      if (!isAbstractType(type) || !schema.isSubType(type, named)) {
        return refuse(
          place,
          `Runtime Object type "${named.name}" is not a possible type for "${type.name}".`,
        )
      }
      return composite(named, sets, place)
    }
  }

  /** @param type an interface where a subgraph did not say which object it is, and nothing asks */
  function objectOf(
    type: GraphQLCompositeType,
    sets: readonly SelectionSetNode[],
    depth: number,
  ): Write {
    const fields = [...collect(selected, type, sets)].map(([key, nodes], index) =>
      memberOf(type, key, nodes, index, depth),
    )
    if (fields.length === 0) return () => '{}'
    return (value, run) => {
      const object = value as JsonObject
      const { path } = run
      let text = ''
      for (let i = 0; i < fields.length; i++) {
        const field = fields[i] as Field
        const part = field.isInherited ? read(object, field.dataKey) : object[field.dataKey]
        path[depth] = field.dataKey
        let partText: string | undefined
        if (part !== null && part !== undefined) partText = field.write(part, run)
        else if (field.constant !== null) partText = field.constant(run)
        else if (field.isNonNull) missing(run, field.name, depth + 1)
        if (partText !== undefined) text += field.before + partText
        else if (field.isNonNull) return undefined
        else text += field.beforeNull
      }
      return `${text}}`
    }
  }

  function memberOf(
    type: GraphQLCompositeType,
    key: string,
    nodes: readonly FieldNode[],
    index: number,
    depth: number,
  ): Field {
    const before = `${index === 0 ? '{' : ','}${JSON.stringify(key)}:`
    const fieldName = nodes[0]?.name.value ?? ''
    const name = `${type.name}.${fieldName}`
    const place = { depth: depth + 1, name }
    const dataKey = nodes[0] ? inData(nodes[0]) : key
    const common = {
      dataKey,
      name,
      before,
      beforeNull: `${before}null`,
      isInherited: isInherited(dataKey),
    }
    const constant = constantOf(type, fieldName, nodes, place)
    if (constant) return { ...common, isNonNull: true, constant, write: (_, run) => constant(run) }
    const field = fieldOf(type, fieldName)
    if (!field) throw new TypeError(`there is no field ${name}`)
    const sets = nodes.flatMap((it) => it.selectionSet ?? [])
    const isNonNull = isNonNullType(field.type)
    return { ...common, isNonNull, constant: null, write: writerOf(field.type, sets, place) }
  }

  /** What does not come from subgraphs. */
  function constantOf(
    type: GraphQLCompositeType,
    fieldName: string,
    nodes: readonly FieldNode[],
    place: Place,
  ): Field['constant'] {
    if (fieldName === '__typename') {
      const text = JSON.stringify(type.name)
      if (isObjectType(type)) return () => text
      return (run) => {
        const path = run.path.slice(0, place.depth - 1)
        report(run, `Abstract type "${type.name}" must resolve to an Object type at runtime.`, path)
        return undefined
      }
    }
    if (!fieldName.startsWith('__')) return null
    return compileIntrospection(schema, definition, fragments, nodes)
  }

  function writerOf(
    type: GraphQLOutputType,
    sets: readonly SelectionSetNode[],
    place: Place,
  ): Write {
    if (isNonNullType(type)) return writerOf(type.ofType, sets, place)
    if (isListType(type)) return listOf(type.ofType, sets, place)
    if (isLeafType(type)) {
      const leaf = compileLeaf(type)
      return (value, run) => {
        try {
          return leaf(value)
        } catch (error) {
          report(run, (error as Error).message, run.path.slice(0, place.depth))
          return undefined
        }
      }
    }
    const write = composite(type, sets, place)
    return (value, run) => {
      if (typeof value === 'object' && !Array.isArray(value)) return write(value, run)
      report(run, `Expected an object for field "${place.name}".`, run.path.slice(0, place.depth))
      return undefined
    }
  }

  function listOf(
    itemType: GraphQLOutputType,
    sets: readonly SelectionSetNode[],
    place: Place,
  ): Write {
    const { depth, name } = place
    const isNonNull = isNonNullType(itemType)
    const write = writerOf(itemType, sets, { ...place, depth: depth + 1 })
    return (value, run) => {
      if (!Array.isArray(value)) {
        const message = `Expected Iterable, but did not find one for field "${name}".`
        report(run, message, run.path.slice(0, depth))
        return undefined
      }
      const { path } = run
      let text = '['
      for (let i = 0; i < value.length; i++) {
        const item: unknown = value[i]
        path[depth] = i
        let itemText: string | undefined
        if (item !== null && item !== undefined) itemText = write(item, run)
        else if (isNonNull) missing(run, name, depth + 1)
        if (itemText === undefined && isNonNull) return undefined
        text += i === 0 ? (itemText ?? 'null') : `,${itemText ?? 'null'}`
      }
      return `${text}]`
    }
  }
}

type Place = {
  /** How many steps lead to the value. */
  readonly depth: number
  /** The field, as messages name it. */
  readonly name: string
}

type Field = {
  readonly dataKey: string
  readonly name: string
  /** What comes before its value in the text of the object. */
  readonly before: string
  readonly beforeNull: string
  readonly isInherited: boolean
  readonly isNonNull: boolean
  /** Its value, for which no data is needed; null for a field of a subgraph. */
  readonly constant: ((run: Run) => string | undefined) | null
  readonly write: Write
}

function missing(run: Run, name: string, depth: number): void {
  const path = run.path.slice(0, depth)
  if (!isExplained(run, path)) {
    report(run, `Cannot return null for non-nullable field ${name}.`, path)
  }
}

function refuse({ depth }: Place, message: string): Write {
  return (_, run) => {
    report(run, message, run.path.slice(0, depth))
    return undefined
  }
}
