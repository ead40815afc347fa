import { type GraphQLSchema, isAbstractType, isInterfaceType, isObjectType } from 'graphql'
import type { JsonObject } from './json.ts'
import { joined, servicesOf } from './requirements.ts'

/** What a `__typename` in a plan's data stands for, in the whole supergraph. */
export type Types = {
  /** Whether an object that says to be of one type is of the other. */
  isOf(typename: string, condition: string): boolean
  /** Whether the type is one that a subgraph may know as an object though it is an interface. */
  isAbstract(typename: unknown): boolean
  /** Whether the subgraph has the type: it cannot be asked for entities of one that it has not. */
  isIn(service: string, typename: unknown): boolean
}

export function createTypes(supergraph: GraphQLSchema): Types {
  const services = servicesOf(supergraph)
  return {
    isIn(service, typename) {
      const type = typeof typename === 'string' ? supergraph.getType(typename) : undefined
      const graphs = joined(type?.astNode?.directives, 'join__type').map((it) => it.graph)
      return graphs.length === 0 || graphs.some((it) => (services.get(it) ?? it) === service)
    },
    isOf(typename, condition) {
      if (typename === condition) return true
      const type = supergraph.getType(typename)
      const wider = supergraph.getType(condition)
      return (
        isAbstractType(wider) &&
        (isObjectType(type) || isInterfaceType(type)) &&
        supergraph.isSubType(wider, type)
      )
    },
    isAbstract: (typename) =>
      typeof typename === 'string' && isInterfaceType(supergraph.getType(typename)),
  }
}

export function typenameOf({ __typename }: JsonObject): string | null {
  return typeof __typename === 'string' ? __typename : null
}
