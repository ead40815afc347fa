import {
  type ASTNode,
  type DocumentNode,
  type GraphQLSchema,
  Kind,
  print,
  type SelectionNode,
  validate,
  visit,
} from 'graphql'
import type { Operation } from './oracle.ts'

const MAX_RUNS = 2_000

/** A smaller operation that still fails: what can be left out is, one part after the other. */
export async function reduce(
  operation: Operation,
  schema: GraphQLSchema,
  fails: (operation: Operation) => Promise<boolean>,
): Promise<Operation> {
  let smallest = operation
  let runs = 0
  for (let index = 0; runs < MAX_RUNS; ) {
    const document = variant(smallest.document, index)
    if (!document) break
    const smaller = withDocument(smallest, document)
    const isWhole = smaller.source !== '' && !smaller.source.startsWith('fragment')
    if (isWhole && validate(schema, document).length === 0 && ++runs && (await fails(smaller)))
      smallest = smaller
    else index += 1
  }
  return smallest
}

/** The document with its n-th part left out, or put in the place of what is around it. */
function variant(document: DocumentNode, n: number): DocumentNode | null {
  let at = 0
  let isDone = false
  const isNext = () => {
    if (isDone || at++ !== n) return false
    isDone = true
    return true
  }
  const leaveOut = { enter: () => (isNext() ? null : undefined) }
  const changed: DocumentNode = visit(document, {
    Field: leaveOut,
    FragmentSpread: {
      enter: (node) => (isNext() ? null : isNext() ? inlined(node.name.value) : undefined),
    },
    InlineFragment: leaveOut,
    Directive: leaveOut,
    Argument: leaveOut,
    SelectionSet(node) {
      const first = node.selections.findIndex((it) => it.kind === Kind.INLINE_FRAGMENT && isNext())
      const fragment = node.selections[first]
      if (fragment?.kind !== Kind.INLINE_FRAGMENT) return undefined
      const selections = node.selections.toSpliced(first, 1, ...fragment.selectionSet.selections)
      return { ...node, selections }
    },
  })
  if (!isDone) return null
  return withoutUnused(changed)

  function inlined(name: string): SelectionNode | undefined {
    const fragment = document.definitions.find(
      (it) => it.kind === Kind.FRAGMENT_DEFINITION && it.name.value === name,
    )
    if (fragment?.kind !== Kind.FRAGMENT_DEFINITION) return undefined
    const { typeCondition, selectionSet } = fragment
    return { kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet }
  }
}

function withoutUnused(document: DocumentNode): DocumentNode {
  let rest = document
  for (;;) {
    const spread = namesOf(rest, Kind.FRAGMENT_SPREAD)
    const definitions = rest.definitions.filter(
      (it) => it.kind !== Kind.FRAGMENT_DEFINITION || spread.has(it.name.value),
    )
    if (definitions.length === rest.definitions.length) break
    rest = { ...rest, definitions }
  }
  const used = namesOf(visit(rest, { VariableDefinition: () => null }), Kind.VARIABLE)
  return visit(rest, {
    VariableDefinition: (node) => (used.has(node.variable.name.value) ? undefined : null),
  })
}

function namesOf(document: DocumentNode, kind: Kind.FRAGMENT_SPREAD | Kind.VARIABLE): Set<string> {
  const names = new Set<string>()
  visit(document, {
    enter(node: ASTNode) {
      if (node.kind === kind && 'name' in node) names.add((node.name as { value: string }).value)
    },
  })
  return names
}

function withDocument({ variables }: Operation, document: DocumentNode): Operation {
  const declared = document.definitions.flatMap((it) =>
    it.kind === Kind.OPERATION_DEFINITION ? (it.variableDefinitions ?? []) : [],
  )
  const names = new Set(declared.map((it) => it.variable.name.value))
  const kept = Object.entries(variables).filter(([name]) => names.has(name))
  // What is left of a selection set without selections does not print as one.
  return { source: print(document), document, variables: Object.fromEntries(kept) }
}
