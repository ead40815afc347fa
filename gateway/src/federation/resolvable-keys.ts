import { type ConstDirectiveNode, type DocumentNode, Kind, parse } from 'graphql'

/**
 * The supergraph with the keys first by which a subgraph gives entities. To come back to the
 * subgraph where it is, as `@requires` makes it do, the planner takes the first key whose fields it
 * has: also one by which that subgraph gives none (`resolvable: false`).
 */
export function withResolvableKeysFirst(sdl: string): DocumentNode {
  const document = parse(sdl, { noLocation: true })
  return {
    ...document,
    definitions: document.definitions.map((it) =>
      it.kind === Kind.OBJECT_TYPE_DEFINITION || it.kind === Kind.INTERFACE_TYPE_DEFINITION
        ? { ...it, directives: it.directives?.toSorted(unresolvableLast) }
        : it,
    ) as DocumentNode['definitions'],
  }
}

function unresolvableLast(a: ConstDirectiveNode, b: ConstDirectiveNode): number {
  return Number(isUnresolvable(a)) - Number(isUnresolvable(b))
}

function isUnresolvable({ name, arguments: given }: ConstDirectiveNode): boolean {
  if (name.value !== 'join__type') return false
  const value = given?.find((it) => it.name.value === 'resolvable')?.value
  return value?.kind === Kind.BOOLEAN && !value.value
}
