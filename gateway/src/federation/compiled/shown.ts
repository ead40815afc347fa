import {
  type GraphQLCompositeType,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isObjectType,
  type SelectionSetNode,
} from 'graphql'
import { isObject, read } from './json.ts'
import type { Path, Run } from './run.ts'
import { collect, fieldOf, type Selected } from './selections.ts'
import { typenameOf } from './types.ts'

/**
 * Finds the client's path of one in the data: null where the client has no such place, because the
 * plan asked for more than the client did, or for what the client did of other types.
 */
export function compileShown(selected: Selected): (run: Run) => (path: Path) => Path | null {
  const { schema, definition, inData } = selected
  const type = schema.getRootType(definition.operation)
  if (!type) throw new TypeError(`there is no root of a ${definition.operation}`)
  const root: Level = { type, sets: [definition.selectionSet], byType: new Map() }
  return (run) => (path) => shown(run, path)

  function shown(run: Run, path: Path): Path | null {
    const result: (string | number)[] = []
    let level: Level | null = root
    let value: unknown = run.data
    for (const step of path) {
      if (typeof step === 'number') {
        result.push(step)
        value = Array.isArray(value) ? value[step] : undefined
        continue
      }
      if (!level) return null
      const field = fieldIn(level, value, step)
      if (!field) return null
      result.push(field.key)
      level = field.level
      value = isObject(value) ? read(value, step) : undefined
    }
    return result
  }

  function fieldIn({ type, sets, byType }: Level, value: unknown, dataKey: string): Shown | null {
    for (const it of typesOf(type, value)) {
      let fields = byType.get(it.name)
      if (!fields) {
        fields = fieldsOf(it, sets)
        byType.set(it.name, fields)
      }
      const field = fields.get(dataKey)
      if (field) return field
    }
    return null
  }

  function fieldsOf(type: GraphQLCompositeType, sets: readonly SelectionSetNode[]) {
    const fields = new Map<string, Shown>()
    for (const [key, nodes] of collect(selected, type, sets)) {
      const [node] = nodes
      if (!node) continue
      const below = getNamedType(fieldOf(type, node.name.value)?.type)
      const sets = nodes.flatMap((it) => it.selectionSet ?? [])
      const level = isCompositeType(below) ? { type: below, sets, byType: new Map() } : null
      fields.set(inData(node), { key, level })
    }
    return fields
  }

  /** What a value may be: of a null it is not known any more. */
  function typesOf(type: GraphQLCompositeType, value: unknown): readonly GraphQLCompositeType[] {
    if (!isAbstractType(type)) return [type]
    const typename = isObject(value) ? typenameOf(value) : null
    const named = typename === null ? undefined : schema.getType(typename)
    return isObjectType(named) ? [named] : [type, ...schema.getPossibleTypes(type)]
  }
}

type Level = {
  readonly type: GraphQLCompositeType
  readonly sets: readonly SelectionSetNode[]
  readonly byType: Map<string, Map<string, Shown>>
}

type Shown = { readonly key: string; readonly level: Level | null }
