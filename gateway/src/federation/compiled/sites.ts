import {
  type FieldNode,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  type SelectionSetNode,
} from 'graphql'
import type { Attached } from './attached.ts'
import { type Cuts, compileCuts } from './cuts.ts'
import { keyOf } from './names.ts'
import type { PlanPath } from './paths.ts'
import { type Cutting, type Part, type Piece, type Write, writeObject, writeOf } from './pieces.ts'
import { fieldsIn, NotCut, plain, TYPENAME, typeOf } from './plain.ts'
import { type Scan, type Scanned, scanOf } from './scan.ts'
import { collect, type Selected } from './selections.ts'

/** Where the answer of a fetch belongs, and how it is taken apart. */
export type Seat = {
  readonly type: GraphQLObjectType
  /** Where in a piece its cuttings belong. */
  readonly place: number
  /** Of one object: leaves its cuttings in `found`. */
  readonly scan: Scan
  /** Where the leaves are that it is told, as JSON text, by response name. */
  readonly told: ReadonlyMap<string, Cutting>
  /** The number of the site, by which its pieces are found. */
  readonly site: number
}

/** An answer that is taken apart, and all pieces so far, by site: in the order in which they come. */
export type Taken = Scanned & { readonly pieces: readonly Piece[][] }

export type Sites = {
  readonly count: number
  /** Of an empty piece of the root. */
  readonly rootLength: number
  readonly seats: ReadonlyMap<Attached, Seat>
  /** The JSON text of the whole, with a character for each byte of it. */
  write(root: Piece): string
}

/** One that brings an object or adds to it. */
type Source = { readonly attached: Attached | null; readonly fields: readonly FieldNode[] }

type ClientField = {
  readonly key: string
  readonly dataKey: string
  readonly name: string
  readonly sets: readonly SelectionSetNode[]
}

type Site = { readonly scan: Scan; readonly write: Write }

/**
 * How answers are cut and put together for an operation, so that what clients get as subgraphs wrote
 * it is neither parsed nor written anew. An object that comes whole from one fetch, in the client's
 * order, is passed on within the text around it; any other is a site, where pieces meet.
 *
 * @throws {NotCut}
 */
export function compileSites(
  selected: Selected,
  supergraph: GraphQLSchema,
  attached: readonly Attached[],
): Sites {
  const { schema, definition, inData } = selected
  const seats = new Map<Attached, Seat>()
  const root = schema.getRootType(definition.operation)
  let count = 0
  if (!root) throw new NotCut()
  const { write } = siteOf(root, [definition.selectionSet], null, [])
  if (seats.size < attached.length) throw new NotCut()
  const rootLength = attached.filter((it) => it.path.length === 0).length
  return { count, rootLength, seats, write: write as Sites['write'] }

  /** @param creator what the fetch asks that brings the object; null for the root */
  function siteOf(
    type: GraphQLObjectType,
    sets: readonly SelectionSetNode[],
    creator: SelectionSetNode | null,
    path: PlanPath,
  ): Site {
    const site = count++
    const here = attached.filter((it) => isSame(it.path, path))
    const sources: Source[] = here.map((it) => ({
      attached: it,
      fields: fieldsIn(it.selections, type),
    }))
    if (creator) sources.unshift({ attached: null, fields: fieldsIn(creator, type) })
    const fields = clientFields(type, sets)
    const owners = fields.map((it) => ownerOf(it, sources))
    const wanted = new Set(here.flatMap((it) => it.told(type)))
    wanted.delete(TYPENAME)
    const below = new Map<string, Write>()
    const cuts = sources.map((it, source) => cutsOf(it, source))
    /** After what was cut out where the object was brought. */
    const places = creator ? (cuts[0]?.count ?? 0) - 1 : 0
    for (const [source, { attached }] of sources.entries()) {
      if (!attached) continue
      const keys = attached.told(type).filter((it) => it !== TYPENAME)
      const told = new Map(keys.map((key) => [key, cuttingOf(key, source)]))
      // Whoever is told of an object is told its type: here it is known because it was asked for.
      if (creator && !sources[0]?.fields.some((it) => keyOf(it) === TYPENAME)) throw new NotCut()
      const scan = (cuts[source] as Cuts).scan(0)
      seats.set(attached, { type, place: places + source, scan, told, site })
    }
    const scan = creator ? cuts[0]?.scan(here.length) : NEVER
    if (!scan) throw new NotCut()
    return { scan: creator && here.length > 0 ? noted(scan, site) : scan, write: writer() }

    function cutsOf({ fields: fetched }: Source, source: number): Cuts {
      return compileCuts(
        fetched.map((node) => {
          const key = keyOf(node)
          const at = fields.findIndex((it, at) => owners[at] === source && it.dataKey === key)
          const client = fields[at]
          const isWanted = wanted.has(key)
          const site = client && siteBelow(type, node, client.sets, [...path, key])
          if (site && isWanted) throw new NotCut()
          if (site) below.set(client.key, site.write)
          const scan = site ? site.scan : plain(client ? schema : supergraph, type, node)
          const isWhole = client?.key === key && !site
          return { key, scan, isTaken: site !== undefined, isWanted, at, isWhole }
        }),
      )
    }

    function at(source: number, index: number): Cutting {
      const isOwn = creator !== null && source === 0
      return isOwn ? { at: index, within: -1 } : { at: places + source, within: index }
    }

    function cuttingOf(key: string, but: number): Cutting {
      const all = cuts.flatMap(({ values }, source) => {
        const index = values.get(key)
        return index === undefined ? [] : [{ source, index }]
      })
      const [only, ...others] = all
      if (!only || others.length > 0 || only.source === but) throw new NotCut()
      return at(only.source, only.index)
    }

    function writer(): Write {
      const parts: Part[] = []
      for (const [position, { key, dataKey }] of fields.entries()) {
        const source = owners[position]
        const before = `${position === 0 ? '{' : ','}${JSON.stringify(key)}:`
        if (source === undefined) {
          const text = before + JSON.stringify(type.name)
          parts.push({ before: text, cutting: null, write: null })
          continue
        }
        const { runs, values } = cuts[source] as Cuts
        const run = runs.get(position)
        const value = values.get(dataKey)
        const write = below.get(key) ?? null
        if (run !== undefined) {
          parts.push({ before: before.slice(0, 1), cutting: at(source, run), write: null })
        } else if (value !== undefined && (write || key !== dataKey)) {
          parts.push({ before, cutting: at(source, value), write })
        }
        // Any other is in the run of the one before.
      }
      return writeObject(parts)
    }
  }

  /** Undefined when the field's value can be passed on as it comes. */
  function siteBelow(
    type: GraphQLObjectType,
    node: FieldNode,
    sets: readonly SelectionSetNode[],
    path: PlanPath,
  ): Site | undefined {
    if (node.name.value === TYPENAME) return undefined
    const of = typeOf(schema, type, node.name.value)
    const named = getNamedType(of)
    if (isLeafType(named)) return undefined
    if (!isObjectType(named) || !node.selectionSet) throw new NotCut()
    const deeper = pathThrough(of, path)
    const isSite = attached.some((it) => isSame(it.path.slice(0, deeper.length), deeper))
    if (!isSite && isAlike(named, node.selectionSet, sets)) return undefined
    const { scan, write } = siteOf(named, sets, node.selectionSet, deeper)
    return { scan: scanOf(of, scan, true), write: writeOf(of, write) }
  }

  /** Whether a fetch asks for what the client does, by the same names in the same order. */
  function isAlike(
    type: GraphQLObjectType,
    fetched: SelectionSetNode,
    sets: readonly SelectionSetNode[],
  ): boolean {
    const nodes = fieldsIn(fetched, type)
    const fields = clientFields(type, sets)
    return (
      nodes.length === fields.length &&
      nodes.every((node, index) => {
        const { key, dataKey, name, sets } = fields[index] as ClientField
        if (keyOf(node) !== key || key !== dataKey || node.name.value !== name) return false
        if (name === TYPENAME) return true
        const below = getNamedType(typeOf(schema, type, name))
        if (isLeafType(below)) return true
        if (!isObjectType(below) || !node.selectionSet) throw new NotCut()
        return isAlike(below, node.selectionSet, sets)
      })
    )
  }

  function clientFields(
    type: GraphQLObjectType,
    sets: readonly SelectionSetNode[],
  ): readonly ClientField[] {
    const fields = [...collect(selected, type, sets)].map(([key, nodes]) => {
      const [first] = nodes
      const name = first?.name.value
      if (!first || !name || (name.startsWith('__') && name !== TYPENAME)) throw new NotCut()
      const sets = nodes.flatMap((it) => it.selectionSet ?? [])
      return { key, dataKey: inData(first), name, sets }
    })
    if (fields.length === 0) throw new NotCut()
    return fields
  }
}

/** For the root: no fetch brings it. */
const NEVER: Scan = () => {
  throw new TypeError('nothing brings the root')
}

/** Undefined for a `__typename` that nobody asked for. */
function ownerOf(
  { key, dataKey, name }: ClientField,
  sources: readonly Source[],
): number | undefined {
  const owners = [...sources.keys()].filter((source) =>
    sources[source]?.fields.some((it) => keyOf(it) === dataKey),
  )
  const [first, ...others] = owners
  // Each that has it says the same: it is scanned for.
  if (name === TYPENAME && (first === undefined || key !== dataKey)) return undefined
  if (name === TYPENAME) return first
  // Of two that bring it the later one is believed: which that is, the plan knows.
  if (first === undefined || others.length > 0) throw new NotCut()
  const node = sources[first]?.fields.find((it) => keyOf(it) === dataKey)
  if (node?.name.value !== name) throw new NotCut()
  return first
}

function isSame(one: PlanPath, other: PlanPath): boolean {
  return one.length === other.length && one.every((step, index) => step === other[index])
}

/** With what the planner writes for each list. */
function pathThrough(type: GraphQLOutputType, path: PlanPath): PlanPath {
  if (isNonNullType(type)) return pathThrough(type.ofType, path)
  return isListType(type) ? pathThrough(type.ofType, [...path, '@']) : path
}

/** Puts what is found among the pieces of a site. */
function noted(scan: Scan, site: number): Scan {
  return (of, from) => {
    const at = scan(of, from)
    ;(of as Taken).pieces[site]?.push(of.found as Piece)
    return at
  }
}
