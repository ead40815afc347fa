import type { FetchNode } from '@apollo/query-planner'
import type { GraphQLFormattedError } from 'graphql'
import { compileContexts } from './contexts.ts'
import { type Demand, without } from './demands.ts'
import { type Fetch, fetchOf, pathIn, type Scope, type Step } from './fetch.ts'
import { clone, isObject, type JsonObject, read } from './json.ts'
import { merge } from './merge.ts'
import { represent } from './partial.ts'
import { type Place, type PlanPath, placesAt } from './paths.ts'
import { compileRepresentations, type Representation } from './representations.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import { at, type Path, type Run, treeOf } from './run.ts'
import { typenameOf } from './types.ts'

/**
 * A fetch of what one subgraph knows of entities. Those that are represented alike are asked for
 * once, and share what came. Those that lack what some of the fields require are asked for without
 * these, in a request of their own.
 */
export function entityStep(scope: Scope, node: FetchNode, path: PlanPath): Step {
  const { types, isApart, requirements } = scope
  const whole = fetchOf(scope, node)
  const demands = scope.demands(node)
  const representationOf = compileRepresentations(types, node)
  const rewrite = compileRewrites(types, node.outputRewrites)
  const contexts = compileContexts(types, node.contextRewrites, path)
  const variants = new Map<string, Fetch | null>()
  if (!contexts) return (run, objects) => fetch(run, objects, '')
  return async (run, objects) => {
    const groups = contexts(run, objects)
    const pending = groups.flatMap((it) => fetch(run, it.objects, it.variables) ?? [])
    await Promise.all(pending)
  }

  function fetch(
    run: Run,
    objects: readonly JsonObject[],
    variables: string,
  ): Promise<void> | undefined {
    const before = variables === '' ? '' : `${variables},`
    const asked = new Asked(whole)
    const rest = gather(run, objects, asked)
    const send = (it: Asked) => receive(run, it, `${before}"representations":[${it.text}]`)
    if (!rest) return asked.count === 0 ? undefined : send(asked)
    const all = [asked, ...split(run, rest, asked)].filter((it) => it.count > 0)
    return all.length === 0
      ? undefined
      : (Promise.all(all.map(send)) as Promise<unknown> as Promise<void>)
  }

  /** Puts those that are whole among those to be asked for, and gives back the others. */
  function gather(run: Run, objects: readonly JsonObject[], asked: Asked): JsonObject[] | null {
    // Where something failed, what is null may be so because of that.
    if (run.told.length > 0 && demands.length > 0) return [...objects]
    let rest: JsonObject[] | null = null
    let last: string | null = null
    let representation: Representation | null = null
    for (const object of objects) {
      const typename = typenameOf(object)
      if (typename === null) continue
      if (typename !== last || !representation) {
        last = typename
        representation = representationOf(typename)
        asked.select(typename)
      }
      const { text: write, sole } = representation
      const text = sole === null ? write(object) : undefined
      const key = sole === null ? text : object[sole]
      let index = key === undefined ? undefined : asked.known.get(key)
      if (index === undefined) {
        const written = text === undefined ? write(object) : text
        if (written === null) {
          rest ??= []
          rest.push(object)
          continue
        }
        index = asked.add(key, written)
      }
      asked.objects.push(object)
      asked.indexes.push(index)
    }
    return rest
  }

  function split(run: Run, objects: readonly JsonObject[], asked: Asked): Iterable<Asked> {
    const byFields = new Map<string, Asked>()
    const hasErrors = run.told.length > 0
    const places = hasErrors ? placesAt(run, path) : NO_PLACES
    const failures = hasErrors ? treeOf(run.told) : null
    for (const object of objects) {
      const typename = typenameOf(object)
      if (typename === null) continue
      const { fields, as, text: write } = representationOf(typename)
      const keys = requirements.keys(node.serviceName, as)
      const [place] = places.get(object) ?? []
      const of = { as, fields: fields ?? [], failures: place ? at(failures, place.path) : null }
      const partial = fields
        ? represent({ types, demands, keys }, object, of)
        : { text: write(object), lacking: [] }
      if (!partial || partial.text === null) {
        const holes = whole.holes(run, typename)
        for (const key of absent(object, fields)) skip(run, places.get(object), [key], holes)
        continue
      }
      const { text, lacking } = partial
      for (const { cause, demand } of lacking) skip(run, places.get(object), cause, [demand.key])
      let into: Asked | undefined = asked
      if (lacking.length > 0) {
        const id = lacking.map(({ demand }) => demands.indexOf(demand)).join()
        into = byFields.get(id)
        if (!into) {
          const fetch = variant(
            id,
            lacking.map(({ demand }) => demand),
          )
          if (!fetch) continue
          into = new Asked(fetch)
          byFields.set(id, into)
        }
      }
      into.select(typename)
      into.objects.push(object)
      into.indexes.push(into.known.get(text) ?? into.add(text, text))
    }
    return byFields.values()
  }

  function skip(
    run: Run,
    places: readonly Place[] = [],
    cause: Path,
    keys: readonly string[],
  ): void {
    for (const { path: place } of places) {
      run.skipped.push({ cause: [...place, ...cause], holes: keys.map((key) => [...place, key]) })
    }
  }

  function variant(id: string, dropped: readonly Demand[]): Fetch | null {
    let fetch = variants.get(id)
    if (fetch === undefined) {
      const rest = without(node, dropped)
      fetch = rest && fetchOf(scope, rest)
      if (variants.size >= MAX_VARIANTS) variants.clear()
      variants.set(id, fetch)
    }
    return fetch
  }

  async function receive(run: Run, asked: Asked, first: string): Promise<void> {
    const { by } = asked
    try {
      const { data, errors } = await by.ask(run, first)
      if (errors && errors.length > 0) explain(run, asked, errors, data)
      else if (!data)
        throw new TypeError(`${node.serviceName} answered with neither data nor errors`)
      if (data) take(run, asked, data._entities)
    } catch (error) {
      by.fail(run, error, holesOf(asked, run, placesAt(run, path), asked.objects))
    }
  }

  function take(run: Run, { objects, indexes, count }: Asked, received: unknown): void {
    if (!Array.isArray(received) || received.length !== count) {
      throw new TypeError(`${node.serviceName} answered with other entities than it was asked for`)
    }
    const taken = new Set<number>()
    for (let i = 0; i < objects.length; i++) {
      const index = indexes[i] as number
      const entity: unknown = received[index]
      if (!isObject(entity)) continue
      const object = objects[i] as JsonObject
      const isFirst = !taken.has(index)
      if (isFirst) {
        taken.add(index)
        prepare(entity, object)
      }
      merge(object, isFirst || !isApart ? entity : clone(entity), run.isShared)
    }
  }

  /** An interface that a subgraph knows as an object says nothing new of an entity's type. */
  function prepare(entity: JsonObject, object: JsonObject): void {
    const known = typenameOf(object)
    if (rewrite) {
      entity.__typename ??= known
      rewrite(entity)
    }
    if (known !== null && types.isAbstract(entity.__typename)) entity.__typename = undefined
  }

  function explain(
    run: Run,
    asked: Asked,
    errors: readonly GraphQLFormattedError[],
    data: JsonObject | null | undefined,
  ): void {
    const { by } = asked
    const places = placesAt(run, path)
    const received = data?._entities
    const objectsAt = byIndex(asked)
    const holesAt = new Map<number, Path[]>()
    let all: Path[] | undefined
    for (const error of errors) {
      const below = pathIn(error)
      const [root, position, ...rest] = below ?? []
      if (root !== '_entities' || typeof position !== 'number') {
        all ??= holesOf(asked, run, places, asked.objects)
        by.tell(run, error, below ? all.slice(0, 1) : null, below || !data ? all : [])
        continue
      }
      const to = renamed(rest, node.outputRewrites)
      const these = objectsAt.get(position) ?? []
      const paths = these.flatMap((it) => places.get(it) ?? []).map((it) => [...it.path, ...to])
      // An error below an entity that is null took all the rest of it.
      const entity: unknown = Array.isArray(received) ? received[position] : null
      const isAll = rest.length === 0 || (entity ?? null) === null
      let holes: Path[] = []
      if (isAll) {
        holes = holesAt.get(position) ?? holesOf(asked, run, places, these)
        holesAt.set(position, holes)
      }
      by.tell(run, error, rest.length === 0 ? holes : paths, holes)
    }
  }

  function holesOf(
    { by }: Asked,
    run: Run,
    places: ReadonlyMap<JsonObject, readonly Place[]>,
    these: readonly JsonObject[],
  ): Path[] {
    return [...new Set(these)].flatMap((object) => {
      const keys = by.holes(run, typenameOf(object))
      return (places.get(object) ?? []).flatMap((place) =>
        keys.length === 0 ? [place.path] : keys.map((key) => [...place.path, key]),
      )
    })
  }
}

/** The objects that each representation stands for, each once. */
function byIndex({ objects, indexes }: Asked): ReadonlyMap<number, readonly JsonObject[]> {
  const sets = new Map<number, Set<JsonObject>>()
  for (let i = 0; i < objects.length; i++) {
    const index = indexes[i] as number
    const set = sets.get(index) ?? new Set()
    sets.set(index, set)
    set.add(objects[i] as JsonObject)
  }
  return new Map([...sets].map(([index, set]) => [index, [...set]]))
}

function absent(object: JsonObject, fields: Representation['fields']): string[] {
  const keys = (fields ?? []).flatMap((it) => (it.kind === 'Field' ? [it.alias ?? it.name] : []))
  return keys.filter((key) => read(object, key) === undefined)
}

/** What there may be of one fetch without some of its fields, at one time. */
const MAX_VARIANTS = 16

const NO_PLACES: ReadonlyMap<JsonObject, readonly Place[]> = new Map()

/** What is asked for in one request. */
class Asked {
  readonly by: Fetch
  readonly objects: JsonObject[] = []
  /** Of each object, which representation stands for it. */
  readonly indexes: number[] = []
  count = 0
  /** The representations, as the text of items. */
  text = ''
  /** Those of the selected type, by what tells them apart. */
  known = new Map<unknown, number>()
  readonly #byType = new Map<string, Map<unknown, number>>()

  constructor(by: Fetch) {
    this.by = by
  }

  select(typename: string): void {
    this.known = this.#byType.get(typename) ?? new Map()
    this.#byType.set(typename, this.known)
  }

  add(key: unknown, text: string): number {
    const index = this.count++
    this.text += index === 0 ? text : `,${text}`
    this.known.set(key, index)
    return index
  }
}
