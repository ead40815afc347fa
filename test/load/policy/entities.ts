import type { PolicySource } from '@berth/platform/policy-client'
import { allow, mayDo, type Rules } from '@berth/platform/shield'

const FIELDS = ['name', 'state', 'gpuModel', 'region', 'host', 'login', 'image', 'createdAt']

/** An entity of eight plain fields, of which the id alone is unruled: as allocations are ruled. */
export const SDL = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key"])
  type Query { none: String }
  type Allocation @key(fields: "id") { id: ID! ${FIELDS.map((it) => `${it}: String!`).join(' ')} }
`

export const resolvers = {
  Allocation: {
    __resolveReference: ({ id }: { id: string }) => ({
      id,
      ...Object.fromEntries(FIELDS.map((field) => [field, `${field} of ${id}`])),
    }),
  },
}

const ACTION = 'allocation:read'

export const variants = {
  guarded: { Query: allow, Allocation: { '*': mayDo(ACTION), id: allow } },
  open: { Query: allow, Allocation: allow },
} as const satisfies Record<string, Rules>

export type Variant = keyof typeof variants

export const QUERY = `query ($representations: [_Any!]!) {
  _entities(representations: $representations) { ... on Allocation { id ${FIELDS.join(' ')} } }
}`

export const ENTITIES = 50

/** Of fifty entities, never the same ones twice in a row. */
export function variablesOf(round: number) {
  const id = (index: number) => `alc_${(round * ENTITIES + index) % 100_000}`
  return {
    representations: Array.from({ length: ENTITIES }, (_, index) => ({
      __typename: 'Allocation',
      id: id(index),
    })),
  }
}

/** Policy, of which nothing but the grants is asked here. */
export const source: PolicySource = {
  values: async () => ({ values: [] }),
  grants: async () => ({ granted: [ACTION], dependent: [] }),
  decide: async () => ({ isGranted: false }),
}

/** A feed that is always heard of. */
export const feed = {
  subscribe: () => () => undefined,
  get completeAt() {
    return Date.now()
  },
}
