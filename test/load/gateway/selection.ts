import {
  type FieldNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { numberOf, offerOf, opinionsOf, supplyOf } from './data.ts'

export type Variables = Readonly<Record<string, unknown>>

/** Answers one operation of a subgraph with the JSON text of its data. */
export type Answerer = (variables: Variables) => string

type Writer = (value: Record<string, unknown>) => string

/** What an operation reads of an entity, so that no more is computed for it. */
const OF_CATALOG = new Set(['name', 'kind', 'tags', 'price', 'maker'])
const OF_SUPPLY = new Set(['free', 'site'])

/**
 * Compiles an operation over the three subgraphs' types: whatever text a gateway asks with, its
 * aliases, fragments and batches are answered. An entity's text is kept for each selection of it: once
 * all have been asked for, an answer costs little more than joining them.
 */
export function compileSelection(text: string, sdl: string): Answerer {
  const { definitions } = parse(text, { noLocation: true })
  const fragments = new Map<string, FragmentDefinitionNode>()
  let operation: OperationDefinitionNode | undefined
  for (const definition of definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION)
      fragments.set(definition.name.value, definition)
    if (definition.kind === Kind.OPERATION_DEFINITION) operation = definition
  }
  if (!operation) throw new Error('no operation')
  const roots = fieldsOf(operation.selectionSet).map(rootOf)
  return (variables) => `{${roots.map((root) => root(variables)).join(',')}}`

  function rootOf(field: FieldNode): Answerer {
    const key = `${JSON.stringify(field.alias?.value ?? field.name.value)}:`
    if (field.name.value === '__typename') return () => `${key}"Query"`
    if (field.name.value === '_service') return () => `${key}{"sdl":${JSON.stringify(sdl)}}`
    const offer = offerWriter(field)
    if (field.name.value === 'offers') {
      return (variables) => {
        const first = Number(argument(field, 'first', variables))
        const after = Number(argument(field, 'after', variables))
        let list = ''
        for (let n = after + 1; n <= after + first; n++)
          list += list === '' ? offer(n) : `,${offer(n)}`
        return `${key}[${list}]`
      }
    }
    if (field.name.value !== '_entities') throw new Error(`no field ${field.name.value}`)
    return (variables) => {
      const representations = argument(field, 'representations', variables) as { id: string }[]
      return `${key}[${representations.map(({ id }) => offer(numberOf(id))).join(',')}]`
    }
  }

  function offerWriter(field: FieldNode): (n: number) => string {
    if (!field.selectionSet) throw new Error(`${field.name.value} needs a selection`)
    const selected = fieldsOf(field.selectionSet)
    const write = writerOf(selected, 'Offer')
    const names = selected.map((it) => it.name.value)
    const ofCatalog = names.some((name) => OF_CATALOG.has(name))
    const ofSupply = names.some((name) => OF_SUPPLY.has(name))
    const ofReviews = names.includes('rating') || names.includes('reviews')
    const texts = new Map<number, string>()
    return (n) => {
      let text = texts.get(n)
      if (text !== undefined) return text
      text = write({
        id: `o${n}`,
        ...(ofCatalog && offerOf(n)),
        ...(ofSupply && supplyOf(n)),
        ...(ofReviews && opinionsOf(n)),
      })
      texts.set(n, text)
      return text
    }
  }

  function writerOf(selected: readonly FieldNode[], type: string): Writer {
    const writers = selected.map((field): Writer => {
      const name = field.name.value
      const key = `${JSON.stringify(field.alias?.value ?? name)}:`
      if (name === '__typename') return () => `${key}"${type}"`
      if (!field.selectionSet) return (value) => key + JSON.stringify(value[name])
      const inner = writerOf(fieldsOf(field.selectionSet), TYPES[name] ?? name)
      return (value) => key + each(value[name], inner)
    })
    return (value) => {
      let text = ''
      for (const write of writers) text += text === '' ? write(value) : `,${write(value)}`
      return `{${text}}`
    }
  }

  function fieldsOf(set: SelectionSetNode): FieldNode[] {
    return set.selections.flatMap((selection) => {
      if (selection.kind === Kind.FIELD) return selection
      if (selection.kind === Kind.INLINE_FRAGMENT) return fieldsOf(selection.selectionSet)
      const fragment = fragments.get(selection.name.value)
      return fragment ? fieldsOf(fragment.selectionSet) : []
    })
  }
}

const TYPES: Readonly<Record<string, string>> = { maker: 'Maker', site: 'Site', reviews: 'Review' }

function each(value: unknown, write: Writer): string {
  if (Array.isArray(value)) return `[${value.map((item) => each(item, write)).join(',')}]`
  return write(value as Record<string, unknown>)
}

function argument(field: FieldNode, name: string, variables: Variables): unknown {
  const value = field.arguments?.find((it) => it.name.value === name)?.value
  if (value?.kind === Kind.VARIABLE) return variables[value.name.value]
  if (value?.kind === Kind.INT) return Number(value.value)
  if (value?.kind === Kind.LIST) return value.values.map((it) => literal(it as never))
  throw new Error(`${field.name.value} needs ${name}`)
}

/** `{__typename: "Offer", id: "o1"}` written into the text. */
function literal(value: { fields: { name: { value: string }; value: { value: string } }[] }) {
  return Object.fromEntries(value.fields.map((it) => [it.name.value, it.value.value]))
}
