import {
  fieldsOf,
  keyOf,
  objectTypes,
  placesOf,
  selectionOf,
} from '@berth/platform/test-kit/operations'
import { getNamedType, isEnumType } from 'graphql'
import { givenAt, isLevel } from './given.ts'
import { type RootField, rootFields, subgraphs } from './graph.ts'

/** Somebody asks for a root field, at the gateway. */
export type RootRow = Pick<RootField, 'operation' | 'subgraph'> & {
  readonly name: string
  readonly document: string
}

/** The gateway asks a subgraph for a field of an entity, by reference. */
export type EntityRow = {
  readonly subgraph: string
  readonly name: string
  readonly type: string
  readonly keys: readonly string[]
  readonly selection: string
}

/** A line for each root field; for each level of a policy, where a field asks for one. */
export const rootRows: readonly RootRow[] = rootFields.flatMap((root) => {
  const { operation, subgraph, on, field } = root
  const level = placesOf(on, field).find(isLevel)
  const type = level && getNamedType(level.type)
  const levels = isEnumType(type) ? type.getValues().map(({ name }) => name) : [undefined]
  return levels.map((at) => ({
    operation,
    subgraph,
    name: `${on.name}.${field.name}${at ? ` at ${at}` : ''}`,
    document: `${operation} Probe { ${selectionOf(on, field, givenAt(at))} }`,
  }))
})

/** A line for each field of what a subgraph loads by reference. */
export const entityRows: readonly EntityRow[] = subgraphs.flatMap(({ name: subgraph, schema }) =>
  objectTypes(schema).flatMap((type) => {
    const keys = keyOf(type)
    if (!keys) return []
    return fieldsOf(type).map((field) => ({
      subgraph,
      name: `${type.name}.${field.name}`,
      type: type.name,
      keys,
      selection: `... on ${type.name} { ${selectionOf(type, field)} }`,
    }))
  }),
)
