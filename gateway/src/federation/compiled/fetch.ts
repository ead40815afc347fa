import type { FetchNode } from '@apollo/query-planner'
import { DomainError } from '@berth/platform/errors'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { knownError, type SubgraphAnswer } from '../answers.ts'
import type { SubgraphClients } from '../transport/subgraph-client.ts'
import { entityStep } from './entities.ts'
import { compileHoles, type Holes, type Keys } from './holes.ts'
import { clone, type JsonObject, quoted, read } from './json.ts'
import { merge } from './merge.ts'
import type { Names } from './names.ts'
import { type Place, type PlanPath, placesAt } from './paths.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import type { Path, Run } from './run.ts'
import type { Types } from './types.ts'

/** Runs a part of a plan for the objects that it concerns. It does not reject but for a bug. */
export type Step = (run: Run, objects: readonly JsonObject[]) => Promise<void> | undefined

/** What all parts of a plan are compiled with. */
export type Scope = {
  readonly types: Types
  readonly clients: SubgraphClients
  /** What the client asked for. */
  readonly keys: Keys
  /** How names of the plan differ from the client's. */
  readonly names: Omit<Names, 'document'>
  /** Mutations that may not be null: response names, and those in the data. */
  readonly endsWhenNull: ReadonlyMap<string, string>
  /** Whether what one entity got may not be shared by its equals, whose contexts differ. */
  readonly isApart: boolean
}

/**
 * One request of one subgraph.
 *
 * @param path where its data belongs
 */
export function compileFetch(scope: Scope, node: FetchNode, path: PlanPath): Step {
  const fetch = fetchOf(scope, node, path)
  return node.requires ? entityStep(scope, node, path, fetch) : rootStep(scope, node, path, fetch)
}

export type Fetch = {
  readonly holes: Holes
  /** @param first variables of the gateway's own, as the text of members */
  ask(run: Run, first: string): Promise<SubgraphAnswer>
  /** An error as it came, at each of the places. */
  tell(run: Run, error: GraphQLFormattedError, places: readonly (Path | undefined)[]): void
  /** One that took all that the fetch would have brought. */
  fail(run: Run, error: unknown, holes: readonly Path[]): void
}

const MAX_HOLES = 100

function fetchOf(scope: Scope, node: FetchNode, path: PlanPath): Fetch {
  const { serviceName: service, operation, operationName, operationKind, variableUsages } = node
  const { shown } = scope.names
  const client = scope.clients[service]
  if (!client) throw new TypeError(`no client for the subgraph ${service}`)
  const named = operationName ? `,"operationName":${JSON.stringify(operationName)}` : ''
  const head = `{"query":${JSON.stringify(operation)}${named}`
  const isMutation = operationKind === 'mutation'
  const used = (variableUsages ?? []).map((name) => ({
    from: scope.names.variable(name),
    before: `${JSON.stringify(name)}:`,
  }))
  let wanted: Keys | null = scope.keys
  for (const step of path) if (step !== '@') wanted = wanted?.below(shown(step)) ?? null

  return {
    holes: compileHoles({ types: scope.types, shown, node, wanted }),
    ask(run, first) {
      let variables = first
      for (const { from, before } of used) {
        const value = read(run.variables, from)
        if (value === undefined) continue
        const text = typeof value === 'string' ? quoted(value) : JSON.stringify(value)
        variables += variables === '' ? before + text : `,${before}${text}`
      }
      const body = variables === '' ? `${head}}` : `${head},"variables":{${variables}}}`
      return client.ask(body, isMutation, run.context)
    },
    tell(run, error, places) {
      const originalError = knownError(service, error)
      for (const place of places) {
        const { message } = originalError
        run.errors.push(new GraphQLError(message, { originalError, path: place ?? null }))
      }
    },
    fail(run, error, holes) {
      const isKnown = error instanceof DomainError
      const originalError = isKnown
        ? error
        : new DomainError('INTERNAL', 'a fetch failed', { cause: error })
      const { message } = originalError
      for (const [index, hole] of holes.entries()) {
        if (index >= (isKnown ? MAX_HOLES : 1)) run.explained.push(hole)
        else run.errors.push(new GraphQLError(message, { originalError, path: hole }))
      }
    },
  }
}

function rootStep(
  { types, isApart, endsWhenNull, names }: Scope,
  node: FetchNode,
  path: PlanPath,
  { ask, tell, fail, holes }: Fetch,
): Step {
  const rewrite = compileRewrites(types, node.outputRewrites)
  const isRootMutation = node.operationKind === 'mutation' && path.length === 0

  return async (run, objects) => {
    await receive(run, objects)
    // A mutation that fails where it must not ends those after it, as in any serial execution.
    if (isRootMutation && endsWhenNull.size > 0) {
      run.isEnded ||= holes(run, null).some((key) => {
        const dataKey = endsWhenNull.get(key)
        return dataKey !== undefined && (read(run.data, dataKey) ?? null) === null
      })
    }
  }

  async function receive(run: Run, objects: readonly JsonObject[]): Promise<void> {
    try {
      const { data, errors } = await ask(run, '')
      if (data) {
        rewrite?.(data)
        for (const [index, object] of objects.entries()) {
          merge(object, isApart && index > 0 ? clone(data) : data, run.isShared)
        }
      }
      for (const error of errors ?? []) {
        const below = pathIn(error)
        if (below) {
          const rest = shownPath(names, renamed(below, node.outputRewrites))
          tell(
            run,
            error,
            placesOf(run, objects, path, names).map((it) => [...it.path, ...rest]),
          )
        } else tell(run, error, [undefined])
      }
      if (data) return
      if (!errors || errors.length === 0)
        throw new TypeError('an answer with neither data nor errors')
      run.explained.push(...holesOf(run, objects))
    } catch (error) {
      fail(run, error, holesOf(run, objects))
    }
  }

  function holesOf(run: Run, objects: readonly JsonObject[]): Path[] {
    const keys = holes(run, null)
    return placesOf(run, objects, path, names).flatMap((it) => keys.map((key) => [...it.path, key]))
  }
}

/** All places of the objects. */
export function placesOf(
  run: Run,
  objects: readonly JsonObject[],
  path: PlanPath,
  { shown }: Pick<Names, 'shown'>,
): Place[] {
  if (path.length === 0) return [ROOT]
  const all = placesAt(run, path, shown)
  return [...new Set(objects)].flatMap((it) => all.get(it) ?? [])
}

const ROOT: Place = Object.freeze({ path: [], above: [] })

export function shownPath({ shown }: Pick<Names, 'shown'>, path: Path): Path {
  return path.map((it) => (typeof it === 'string' ? shown(it) : it))
}

/** Where an error says that it happened; undefined when it does not, or not in a way to be read. */
export function pathIn({ path }: GraphQLFormattedError): Path | undefined {
  if (!Array.isArray(path)) return undefined
  const isPath = path.every((it) => typeof it === 'string' || typeof it === 'number')
  return isPath ? path : undefined
}
