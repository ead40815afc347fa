import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLNamedType,
  type GraphQLSchema,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  type ValueNode,
  valueFromASTUntyped,
} from 'graphql'
import { type Cost, CostProgram, FREE, type OperationCost } from './cost-program.ts'
import type { CostRules, FieldCost } from './cost-rules.ts'

export type { OperationCost } from './cost-program.ts'

/** What an operation costs before anything is selected in it. */
const OF_OPERATION = { query: 0, mutation: 10, subscription: 0 } as const

/**
 * What an operation of a valid document costs at most: each object 1, or what `@cost` says, times the
 * lists that it is in. Fragments are read once however often they are spread. Lists are as long as
 * the client asks for, also by a variable, and else as long as `@listSize` assumes.
 *
 * @returns a number, where no variable changes it; else what computes it from the variables as they
 * were sent
 */
export function costOf(
  schema: GraphQLSchema,
  rules: CostRules,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): OperationCost {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const it of document.definitions) {
    if (it.kind === Kind.FRAGMENT_DEFINITION) fragments.set(it.name.value, it)
  }
  const initial = new Map(
    operation.variableDefinitions?.map(({ variable, defaultValue }) => [
      variable.name.value,
      defaultValue && valueFromASTUntyped(defaultValue),
    ]),
  )
  const program = new CostProgram()
  const spread = new Map<string, Selected>()
  const root = schema.getRootType(operation.operation)
  if (!root) return 0
  const selected = selectedIn(operation.selectionSet, root)
  return program.finish([OF_OPERATION[operation.operation], total(selected, NO_SIZES, FREE)])

  function selectedIn({ selections }: SelectionSetNode, parent: GraphQLNamedType): Selected {
    const plain: Cost[] = []
    const lists = new Map<string, { assumed: number; each: Cost[] }>()
    for (const selection of selections) {
      const isThere = conditionOf(selection)
      if (isThere === FREE) continue
      if (selection.kind === Kind.FIELD) {
        const rule = rules(parent, selection.name.value)
        // Introspection: what there is of it is limited by its fields.
        if (!rule) continue
        const { cost, each } = fieldCost(selection, rule)
        plain.push(program.times(isThere, cost))
        if (each) addList(selection.name.value, rule.listSize ?? 1, program.times(isThere, each))
        continue
      }
      const below =
        selection.kind === Kind.INLINE_FRAGMENT
          ? selectedIn(selection.selectionSet, typeOn(selection.typeCondition?.name.value, parent))
          : selectedBy(selection.name.value)
      plain.push(program.times(isThere, below.plain))
      for (const [name, { assumed, each }] of below.lists) {
        addList(name, assumed, program.times(isThere, each))
      }
    }
    return {
      plain: program.sum(plain),
      lists: new Map(
        Array.from(lists, ([name, { assumed, each }]) => [
          name,
          { assumed, each: program.sum(each) },
        ]),
      ),
    }

    function addList(name: string, assumed: number, each: Cost): void {
      const known = lists.get(name)
      if (known) known.each.push(each)
      else lists.set(name, { assumed, each: [each] })
    }
  }

  function selectedBy(name: string): Selected {
    const known = spread.get(name)
    if (known) return known
    // Set beforehand: validation refuses cycles, and if it did not, this would not hang on one.
    spread.set(name, NOTHING)
    const fragment = fragments.get(name)
    const type = fragment && schema.getType(fragment.typeCondition.name.value)
    const selected = fragment && type ? selectedIn(fragment.selectionSet, type) : NOTHING
    spread.set(name, selected)
    return selected
  }

  function typeOn(condition: string | undefined, parent: GraphQLNamedType): GraphQLNamedType {
    return (condition === undefined ? undefined : schema.getType(condition)) ?? parent
  }

  /** @returns `each` of a list whose size is for the field around it to say */
  function fieldCost(field: FieldNode, rule: FieldCost): { cost: Cost; each: Cost | null } {
    const given = argumentsOf(field, rule)
    const isSized = rule.slicing.length > 0 || rule.assumed !== null
    const size = isSized ? sizeOf(field, rule) : FREE
    const below = field.selectionSet ? selectedIn(field.selectionSet, rule.type) : NOTHING
    const sizes = isSized ? rule.sized : NO_SIZES
    const one = program.sum([rule.weight, total(below, sizes, size)])
    if (rule.listSize === null) return { cost: program.sum([given, one]), each: null }
    if (isSized && rule.sized.size === 0) {
      return { cost: program.sum([given, program.times(size, one)]), each: null }
    }
    return { cost: given, each: one }
  }

  function total({ plain, lists }: Selected, sized: ReadonlySet<string>, size: Cost): Cost {
    if (lists.size === 0) return plain
    const parts = [plain]
    for (const [name, { assumed, each }] of lists) {
      parts.push(program.times(sized.has(name) ? size : assumed, each))
    }
    return program.sum(parts)
  }

  function argumentsOf({ arguments: given = [] }: FieldNode, rule: FieldCost): number {
    return given.reduce((sum, { name }) => sum + (rule.arguments.get(name.value)?.weight ?? 0), 0)
  }

  /** The largest of the slicing arguments that are given, or have a default. */
  function sizeOf({ arguments: given = [] }: FieldNode, rule: FieldCost): Cost {
    const assumed = rule.assumed ?? rule.listSize ?? 1
    const readers = rule.slicing.map((name) => {
      const value = given.find((it) => it.name.value === name)?.value
      return readerOf(value, lengthOf(rule.arguments.get(name)?.initial))
    })
    const read = (variables: Variables): number => {
      let most: number | null = null
      for (const reader of readers) {
        const length = typeof reader === 'function' ? reader(variables) : reader
        if (length !== null && (most === null || length > most)) most = length
      }
      return most ?? assumed
    }
    return readers.some((it) => typeof it === 'function') ? program.read(read) : read({})
  }

  function readerOf(value: ValueNode | undefined, otherwise: number | null) {
    if (value === undefined) return otherwise
    if (value.kind !== Kind.VARIABLE) return lengthOf(valueFromASTUntyped(value))
    const name = value.name.value
    const byDefault = initial.get(name)
    const unset = byDefault === undefined ? otherwise : lengthOf(byDefault)
    return (variables: Variables) => {
      const sent = variables[name]
      return sent === undefined ? unset : lengthOf(sent)
    }
  }

  /** 1 where it is selected, 0 where it is not. */
  function conditionOf({ directives = [] }: SelectionNode): Cost {
    let isThere: Cost = 1
    for (const { name, arguments: given = [] } of directives) {
      const wanted = name.value === 'include' ? true : name.value === 'skip' ? false : null
      const value = given[0]?.value
      if (wanted === null || !value) continue
      if (value.kind === Kind.BOOLEAN && value.value !== wanted) return FREE
      if (value.kind !== Kind.VARIABLE) continue
      const variable = value.name.value
      const byDefault = initial.get(variable)
      const read = (variables: Variables) =>
        (variables[variable] ?? byDefault) === !wanted ? 0 : 1
      isThere = program.times(isThere, program.read(read))
    }
    return isThere
  }
}

type Variables = Readonly<Record<string, unknown>>

/** What stands in a selection, its lists apart from the rest: their size may be said around it. */
type Selected = {
  readonly plain: Cost
  readonly lists: ReadonlyMap<string, { readonly assumed: number; readonly each: Cost }>
}

const NOTHING: Selected = Object.freeze({ plain: 0, lists: new Map() })
const NO_SIZES: ReadonlySet<string> = new Set()
/** The largest that an `Int` may be. */
const MOST = 2 ** 31 - 1

/** How many a value asks for: a number, or as many as it names. Null: it does not say. */
function lengthOf(value: unknown): number | null {
  if (Array.isArray(value)) return value.length
  return typeof value === 'number' ? Math.min(Math.max(0, value), MOST) : null
}
