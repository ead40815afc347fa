import type { FetchNode } from '@apollo/query-planner'
import type { GraphQLFormattedError } from 'graphql'
import { compileContexts } from './contexts.ts'
import { type Fetch, pathIn, placesOf, type Scope, type Step, shownPath } from './fetch.ts'
import { clone, isObject, type JsonObject } from './json.ts'
import { merge } from './merge.ts'
import { type PlanPath, placesAt } from './paths.ts'
import { compileRepresentations } from './representations.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import type { Path, Run } from './run.ts'
import { typenameOf } from './types.ts'

/**
 * A fetch of what one subgraph knows of entities. Those that are represented alike are asked for
 * once, and share what came.
 */
export function entityStep(
  { types, isApart, names }: Scope,
  node: FetchNode,
  path: PlanPath,
  { ask, tell, fail, holes }: Fetch,
): Step {
  const representationOf = compileRepresentations(types, node)
  const rewrite = compileRewrites(types, node.outputRewrites)
  const contexts = compileContexts(types, node.contextRewrites, path)
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
    const asked = represented(run, objects)
    if (asked.count === 0) return undefined
    const before = variables === '' ? '' : `${variables},`
    return receive(run, asked, `${before}"representations":[${asked.text}]`)
  }

  function represented(run: Run, objects: readonly JsonObject[]): Asked {
    const indexes: number[] = []
    const asked: Asked = { objects, indexes, count: 0, text: '' }
    const byType = new Map<string, Map<unknown, number>>()
    let last: string | null = null
    let known = new Map<unknown, number>()
    for (const object of objects) {
      const typename = typenameOf(object)
      if (typename === null) {
        indexes.push(-1)
        continue
      }
      if (typename !== last) {
        last = typename
        known = byType.get(typename) ?? new Map()
        byType.set(typename, known)
      }
      const { text: write, sole } = representationOf(typename)
      const text = sole === null ? write(object) : undefined
      const key = sole === null ? text : object[sole]
      let index = key === undefined ? undefined : known.get(key)
      if (index === undefined) {
        const written = text === undefined ? write(object) : text
        if (written === null) index = -1
        else {
          index = asked.count++
          asked.text += index === 0 ? written : `,${written}`
          known.set(key, index)
        }
      }
      indexes.push(index)
    }
    if (run.errors.length > 0 && indexes.includes(-1)) skip(run, asked)
    return asked
  }

  async function receive(run: Run, asked: Asked, first: string): Promise<void> {
    try {
      const { data, errors } = await ask(run, first)
      if (errors) for (const error of errors) explain(run, asked, error, data?._entities)
      if (data) take(run, asked, data._entities)
      else if (!errors || errors.length === 0) {
        throw new TypeError(`${node.serviceName} answered with neither data nor errors`)
      } else run.explained.push(...holesOf(run, asked, isAsked))
    } catch (error) {
      fail(run, error, holesOf(run, asked, isAsked))
    }
  }

  function take(run: Run, { objects, indexes, count }: Asked, received: unknown): void {
    if (!Array.isArray(received) || received.length !== count) {
      throw new TypeError(`${node.serviceName} answered with other entities than it was asked for`)
    }
    const taken = new Set<number>()
    for (let i = 0; i < objects.length; i++) {
      const index = indexes[i] as number
      const entity: unknown = index < 0 ? null : received[index]
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

  function explain(run: Run, asked: Asked, error: GraphQLFormattedError, received: unknown): void {
    const below = pathIn(error)
    if (!below) {
      tell(run, error, [undefined])
      return
    }
    const [root, position, ...rest] = below
    if (root !== '_entities' || typeof position !== 'number') {
      tell(run, error, holesOf(run, asked, isAsked).slice(0, 1))
      run.explained.push(...holesOf(run, asked, isAsked))
      return
    }
    const objects = asked.objects.filter((_, i) => asked.indexes[i] === position)
    const to = shownPath(names, renamed(rest, node.outputRewrites))
    tell(
      run,
      error,
      placesOf(run, objects, path, names).map((it) => [...it.path, ...to]),
    )
    // An error below an entity that is null took all the rest of it.
    const entity: unknown = Array.isArray(received) ? received[position] : null
    if (rest.length === 0 || (entity ?? null) === null) {
      run.explained.push(...holesOf(run, asked, (index) => index === position))
    }
  }

  function skip(run: Run, { objects, indexes }: Asked): void {
    const places = placesAt(run, path, names.shown)
    for (const object of new Set(objects.filter((_, i) => indexes[i] === -1))) {
      const keys = holes(run, typenameOf(object))
      for (const { path: place } of places.get(object) ?? []) {
        run.skipped.push({ place, holes: keys.map((key) => [...place, key]) })
      }
    }
  }

  function holesOf(run: Run, asked: Asked, isMeant: (index: number) => boolean): Path[] {
    const objects = asked.objects.filter((_, i) => isMeant(asked.indexes[i] as number))
    const places = placesAt(run, path, names.shown)
    return [...new Set(objects)].flatMap((object) => {
      const keys = holes(run, typenameOf(object))
      return (places.get(object) ?? []).flatMap((place) =>
        keys.length === 0 ? [place.path] : keys.map((key) => [...place.path, key]),
      )
    })
  }
}

type Asked = {
  readonly objects: readonly JsonObject[]
  /** Of each object, which representation stands for it; -1: none does. */
  readonly indexes: readonly number[]
  count: number
  /** The representations, as the text of items. */
  text: string
}

function isAsked(index: number): boolean {
  return index >= 0
}
