import type { FetchNode } from '@apollo/query-planner'
import { DomainError } from '@berth/platform/errors'
import type { GraphQLFormattedError } from 'graphql'
import { knownError, MAX_HOLES, type SubgraphAnswer, type Take } from '../answers.ts'
import type { SubgraphClient, SubgraphClients } from '../transport/subgraph-client.ts'
import type { Demand } from './demands.ts'
import { entityStep } from './entities.ts'
import { compileHoles, type Holes } from './holes.ts'
import { clone, type JsonObject, quoted, read } from './json.ts'
import { merge } from './merge.ts'
import type { Names } from './names.ts'
import { type Place, type PlanPath, placesAt } from './paths.ts'
import type { Requirements } from './requirements.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import type { Path, Run } from './run.ts'
import type { Types } from './types.ts'

/** Runs a part of a plan for the objects that it concerns. It does not reject but for a bug. */
export type Step = (run: Run, objects: readonly JsonObject[]) => Promise<void> | undefined

/** What all parts of a plan are compiled with. */
export type Scope = {
  readonly types: Types
  readonly requirements: Requirements
  /** What the fields of a fetch require. */
  readonly demands: (node: FetchNode) => readonly Demand[]
  readonly clients: SubgraphClients
  /** How names of the plan differ from the client's. */
  readonly names: Omit<Names, 'document'>
  /** Mutations that may not be null, by their names in the data. */
  readonly endsWhenNull: ReadonlySet<string>
  /** Whether what one entity got may not be shared by its equals, whose contexts differ. */
  readonly isApart: boolean
  /** Those made so far. */
  readonly fetches: WeakMap<FetchNode, Fetch>
}

/**
 * One request of one subgraph.
 *
 * @param path where its data belongs
 */
export function compileFetch(scope: Scope, node: FetchNode, path: PlanPath): Step {
  return node.requires ? entityStep(scope, node, path) : rootStep(scope, node, path)
}

export type Fetch = {
  readonly holes: Holes
  /**
   * What was heard in answer to the same before, is not asked again.
   *
   * @param first variables of the gateway's own, as the text of members
   * @param take for an answer that is not to be parsed: then it can be heard again
   */
  ask(run: Run, first: string, take?: Take): Promise<SubgraphAnswer>
  /** An error as it came, and what is empty because of it. @param paths null: it is of no place */
  tell(run: Run, error: GraphQLFormattedError, paths: readonly Path[] | null, holes: Path[]): void
  /** One that took all that the fetch would have brought. */
  fail(run: Run, error: unknown, holes: Path[]): void
}

/** The same one for the same node. */
export function fetchOf(scope: Scope, node: FetchNode): Fetch {
  const known = scope.fetches.get(node) ?? compileAsking(scope, node)
  scope.fetches.set(node, known)
  return known
}

function compileAsking({ types, clients, names }: Scope, node: FetchNode): Fetch {
  const { serviceName: service, operation, operationName, operationKind, variableUsages } = node
  const client = clients[service]
  if (!client) throw new TypeError(`no client for the subgraph ${service}`)
  const named = operationName ? `,"operationName":${JSON.stringify(operationName)}` : ''
  const head = `{"query":${JSON.stringify(operation)}${named}`
  const isMutation = operationKind === 'mutation'
  const used = (variableUsages ?? []).map((name) => ({
    from: names.variable(name),
    before: `${JSON.stringify(name)}:`,
  }))

  return {
    holes: compileHoles(types, node),
    ask(run, first, take) {
      let variables = first
      for (const { from, before } of used) {
        const value = read(run.variables, from)
        if (value === undefined) continue
        const text = typeof value === 'string' ? quoted(value) : JSON.stringify(value)
        variables += variables === '' ? before + text : `,${before}${text}`
      }
      const body = variables === '' ? `${head}}` : `${head},"variables":{${variables}}}`
      if (!take) return heard(run, client, body) ?? client.ask(body, isMutation, run.context)
      const answer = client.ask(body, isMutation, run.context, take)
      run.heard.push({ client, body, answer })
      return answer
    },
    tell(run, error, paths, holes) {
      const why = () => knownError(service, error)
      run.told.push({ why, paths, limit: Number.POSITIVE_INFINITY, holes })
    },
    fail(run, error, holes) {
      const isKnown = error instanceof DomainError
      const originalError = isKnown
        ? error
        : new DomainError('INTERNAL', 'a fetch failed', { cause: error })
      const limit = isKnown ? MAX_HOLES : 1
      run.told.push({ why: () => originalError, paths: holes, limit, holes: [] })
    },
  }
}

/** Once: it belongs to who is given it. */
function heard(
  { heard }: Run,
  client: SubgraphClient,
  body: string,
): Promise<SubgraphAnswer> | undefined {
  if (heard.length === 0) return undefined
  const index = heard.findIndex((it) => it.client === client && it.body === body)
  const [found] = index < 0 ? [] : heard.splice(index, 1)
  return found?.answer.then((it) => (it.taken ? JSON.parse(it.taken.toString('utf8')) : it))
}

function rootStep(scope: Scope, node: FetchNode, path: PlanPath): Step {
  const { types, isApart, endsWhenNull } = scope
  const { ask, tell, fail, holes } = fetchOf(scope, node)
  const rewrite = compileRewrites(types, node.outputRewrites)
  const isRootMutation = node.operationKind === 'mutation' && path.length === 0

  return async (run, objects) => {
    await receive(run, objects)
    // A mutation that fails where it must not ends those after it, as in any serial execution.
    if (isRootMutation && endsWhenNull.size > 0) {
      run.isEnded ||= holes(run, null).some(
        (key) => endsWhenNull.has(key) && (read(run.data, key) ?? null) === null,
      )
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
      if (errors && errors.length > 0) {
        const places = placesOf(run, objects, path)
        // The same list for all of them: what is to be done for it is done once.
        const empty = data ? [] : holesAt(run, places)
        for (const error of errors) {
          const below = pathIn(error)
          const rest = below && renamed(below, node.outputRewrites)
          tell(run, error, rest ? places.map((it) => [...it.path, ...rest]) : null, empty)
        }
      } else if (!data) throw new TypeError('an answer with neither data nor errors')
    } catch (error) {
      fail(run, error, holesAt(run, placesOf(run, objects, path)))
    }
  }

  function holesAt(run: Run, places: readonly Place[]): Path[] {
    const keys = holes(run, null)
    return places.flatMap((it) => keys.map((key) => [...it.path, key]))
  }
}

/** All places of the objects. */
function placesOf(run: Run, objects: readonly JsonObject[], path: PlanPath): Place[] {
  if (path.length === 0) return [ROOT]
  const all = placesAt(run, path)
  return [...new Set(objects)].flatMap((it) => all.get(it) ?? [])
}

const ROOT: Place = Object.freeze({ path: [], above: [] })

/** Where an error says that it happened; undefined when it does not, or not in a way to be read. */
export function pathIn({ path }: GraphQLFormattedError): Path | undefined {
  if (!Array.isArray(path)) return undefined
  const isPath = path.every((it) => typeof it === 'string' || typeof it === 'number')
  return isPath ? path : undefined
}
