import type { FetchNode, QueryPlanSelectionNode } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FieldNode,
  Kind,
  parse,
  print,
  type SelectionNode,
  type SelectionSetNode,
  visit,
} from 'graphql'
import type { Requirements } from './requirements.ts'
import { renamed } from './rewrites.ts'

/** A field that a fetch of entities asks for, and that needs other fields of them. */
export type Demand = {
  readonly field: FieldNode
  /** The type of which it is asked for; null: of all. */
  readonly on: string | null
  /** Its response name in the data. */
  readonly key: string
  readonly requires: SelectionSetNode
}

/** The fields of a fetch that require others, in its own order. */
export function demandsOf(requirements: Requirements, node: FetchNode): readonly Demand[] {
  if (!node.requires) return NONE
  const { entities, fragments } = read(node)
  const found: Demand[] = []
  if (entities) add(entities, null)
  return found

  function add({ selections }: SelectionSetNode, on: string | null): void {
    for (const it of selections) {
      if (it.kind === Kind.FIELD) {
        const requires = on === null ? null : requirements.of(node.serviceName, on, it.name.value)
        if (!requires) continue
        const [key] = renamed([it.alias?.value ?? it.name.value], node.outputRewrites)
        found.push({ field: it, on, key: String(key), requires })
        continue
      }
      const fragment = it.kind === Kind.INLINE_FRAGMENT ? it : fragments.get(it.name.value)
      if (fragment) add(fragment.selectionSet, fragment.typeCondition?.name.value ?? on)
    }
  }
}

const NONE: readonly Demand[] = Object.freeze([])

/** Each node's text is parsed once. */
const documents = new WeakMap<FetchNode, Read>()

type Read = {
  readonly document: DocumentNode
  readonly fragments: ReadonlyMap<
    string,
    {
      readonly selectionSet: SelectionSetNode
      readonly typeCondition: { readonly name: { readonly value: string } }
    }
  >
  /** What is asked of the entities. */
  readonly entities: SelectionSetNode | undefined
}

function read(node: FetchNode): Read {
  let known = documents.get(node)
  if (!known) {
    const document = parse(node.operation, { noLocation: true })
    const fragments = new Map()
    let entities: SelectionSetNode | undefined
    for (const it of document.definitions) {
      if (it.kind === Kind.FRAGMENT_DEFINITION) fragments.set(it.name.value, it)
      else if (it.kind === Kind.OPERATION_DEFINITION) {
        const [root] = it.selectionSet.selections
        if (root?.kind === Kind.FIELD) entities = root.selectionSet
      }
    }
    known = { document, fragments, entities }
    documents.set(node, known)
  }
  return known
}

/** The fetch without some of its fields; null when nothing is left to ask for. */
export function without(node: FetchNode, demands: readonly Demand[]): FetchNode | null {
  const dropped = new Set<SelectionNode>(demands.map((it) => it.field))
  const empty = new Set<string>()
  const isEmpty = (set: SelectionSetNode) => set.selections.length === 0
  let { document } = read(node)
  for (let before: DocumentNode | null = null; before !== document; ) {
    before = document
    document = visit(document, {
      Field: { enter: (it) => (dropped.has(it) ? null : undefined) },
      FragmentSpread: { enter: (it) => (empty.has(it.name.value) ? null : undefined) },
      InlineFragment: { leave: (it) => (isEmpty(it.selectionSet) ? null : undefined) },
      FragmentDefinition: {
        leave(it) {
          if (!isEmpty(it.selectionSet)) return undefined
          empty.add(it.name.value)
          return null
        },
      },
    })
  }
  const used = { spreads: new Set<string>(), variables: new Set<string>() }
  visit(document, {
    FragmentSpread: (it) => void used.spreads.add(it.name.value),
    VariableDefinition: () => false,
    Variable: (it) => void used.variables.add(it.name.value),
  })
  let isNothing = false
  document = visit(document, {
    OperationDefinition({ selectionSet: { selections } }) {
      const [root] = selections
      isNothing = root?.kind !== Kind.FIELD || !root.selectionSet || isEmpty(root.selectionSet)
    },
    FragmentDefinition: (it) => (used.spreads.has(it.name.value) ? undefined : null),
    VariableDefinition: (it) => (used.variables.has(it.variable.name.value) ? false : null),
  })
  if (isNothing) return null
  const variableUsages = node.variableUsages?.filter((it) => used.variables.has(it))
  return { ...node, operation: print(document), ...(variableUsages ? { variableUsages } : {}) }
}

/**
 * The selections that a field requires and the plan forgot to put into the representations: it does
 * so where what is required is itself required by another subgraph, on the way back.
 */
export function forgotten(
  node: FetchNode,
  demands: readonly Demand[],
): readonly QueryPlanSelectionNode[] {
  const known = new Set<string>()
  const add = (selections: readonly QueryPlanSelectionNode[]) => {
    for (const it of selections) {
      if (it.kind === 'Field') known.add(it.alias ?? it.name)
      else add(it.selections)
    }
  }
  add(node.requires ?? [])
  return demands.flatMap(({ on, requires }) => {
    const lacks = requires.selections.filter(
      (it) => it.kind === Kind.FIELD && !known.has(it.name.value),
    )
    if (lacks.length === 0) return []
    const selections = lacks.map(planSelection)
    return [{ kind: 'InlineFragment', ...(on === null ? {} : { typeCondition: on }), selections }]
  })
}

/** As the planner writes selections. */
function planSelection(node: SelectionNode): QueryPlanSelectionNode {
  if (node.kind === Kind.FRAGMENT_SPREAD) throw new TypeError('a fragment in a @requires')
  const selections = node.selectionSet?.selections.map(planSelection)
  if (node.kind === Kind.FIELD) {
    return { kind: 'Field', name: node.name.value, ...(selections ? { selections } : {}) }
  }
  const typeCondition = node.typeCondition?.name.value
  return {
    kind: 'InlineFragment',
    ...(typeCondition === undefined ? {} : { typeCondition }),
    selections: selections ?? [],
  }
}
