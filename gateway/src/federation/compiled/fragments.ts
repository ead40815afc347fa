import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  visit,
} from 'graphql'

/** The fragments that the operation uses: the document may have others, with variables of others. */
export function fragmentsOf(
  { definitions }: DocumentNode,
  definition: OperationDefinitionNode,
): ReadonlyMap<string, FragmentDefinitionNode> {
  const all = new Map<string, FragmentDefinitionNode>()
  for (const it of definitions) if (it.kind === Kind.FRAGMENT_DEFINITION) all.set(it.name.value, it)
  return usedBy(definition, all)
}

export function usedBy(
  definition: OperationDefinitionNode,
  all: ReadonlyMap<string, FragmentDefinitionNode>,
): ReadonlyMap<string, FragmentDefinitionNode> {
  const used = new Map<string, FragmentDefinitionNode>()
  if (all.size > 0) use(definition)
  return used

  function use(node: OperationDefinitionNode | FragmentDefinitionNode): void {
    visit(node, {
      FragmentSpread({ name: { value: name } }) {
        const fragment = all.get(name)
        if (!fragment || used.has(name)) return
        used.set(name, fragment)
        use(fragment)
      },
    })
  }
}
