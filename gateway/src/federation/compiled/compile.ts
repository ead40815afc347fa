import type { FetchNode, PlanNode, SubscriptionNode } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  isNonNullType,
  Kind,
  type OperationDefinitionNode,
  visit,
} from 'graphql'
import type { GatewayContext } from '../../context.ts'
import { type Answer, knownError, type SubgraphAnswer } from '../answers.ts'
import type { Graph } from '../graph.ts'
import { planOf } from '../planning.ts'
import type { SubgraphClients } from '../transport/subgraph-client.ts'
import {
  conditionKey,
  conditionVariables,
  createKept,
  type Resolved,
  resolveConditions,
} from './conditions.ts'
import { refuseConflicts } from './conflicts.ts'
import { type Demand, demandsOf } from './demands.ts'
import { errorsOf } from './errors.ts'
import { pathIn, type Scope } from './fetch.ts'
import { fragmentsOf } from './fragments.ts'
import { clone, type JsonObject } from './json.ts'
import { createNaming } from './names.ts'
import { NotCompiled, NotPlanned } from './not-compiled.ts'
import { copyAlong, type PlanPath } from './paths.ts'
import { compilePlan, hasContexts, pathsOf } from './plan.ts'
import { createRequirements } from './requirements.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import type { Run } from './run.ts'
import { serially } from './selections.ts'
import { compileShape } from './shape.ts'
import { compileShown } from './shown.ts'
import { compileSplice } from './splice.ts'
import { createTries, type OnTry } from './tries.ts'
import { createTypes } from './types.ts'
import { unplannedRoot } from './unplanned.ts'

/** A compiled operation. */
export type Compiled = {
  run(of: Inputs): Promise<Answer>
}

export type Inputs = {
  /** As the client sent them. */
  readonly variables: Readonly<Record<string, unknown>>
  /** As graphql-js coerced them. */
  readonly coerced: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
  /** What the owner of a subscription sent; it is not changed. */
  readonly event?: SubgraphAnswer
}

export type Compiler = {
  /**
   * A query or mutation, for given values of the variables that its conditions depend on: its plan
   * as closures, and the writer of its answer.
   *
   * @throws {NotCompiled}
   * @throws {NotPlanned}
   */
  operation(
    document: DocumentNode,
    definition: OperationDefinitionNode,
    conditions: Readonly<Record<string, unknown>>,
  ): Compiled
  /**
   * What completes the events of a subscription.
   *
   * @param node planned with the names of `createNaming`
   * @throws {NotCompiled}
   */
  hydration(
    node: SubscriptionNode,
    document: DocumentNode,
    definition: OperationDefinitionNode,
  ): Compiled
}

export function createCompiler({
  graph,
  clients,
  onTry,
}: {
  graph: Graph
  clients: SubgraphClients
  onTry: OnTry
}): Compiler {
  const types = createTypes(graph.supergraph)
  const requirements = createRequirements(graph.supergraph)
  const naming = createNaming(graph.supergraph, graph.schema)
  return {
    operation(document, client, conditions) {
      const asSent = { definition: client, fragments: fragmentsOf(document, client) }
      const resolved = serially(graph.schema, resolveConditions(asSent, conditions))
      const { definition, fragments } = resolved
      const names = naming(definition, fragments)
      const node = plan(names.document)
      if (node?.kind === 'Subscription') throw new NotCompiled('plan-node')
      const scope = scopeOf(definition, fragments, names, node)
      const left = unplannedRoot(names.document, node)
      if (left !== undefined) throw new NotPlanned(new Error(`no plan for ${left}`))
      if (node) refuseConflicts(scope, node)
      const step = node ? compilePlan(scope, node) : null
      const shape = shapeOf(resolved, names)
      const selected = { schema: graph.schema, ...resolved, inData: names.inData }
      const tried =
        node && definition.operation === 'query'
          ? createTries(
              () => compileSplice(scope, node, { selected, supergraph: graph.supergraph }),
              onTry,
            )
          : null
      return {
        async run(inputs) {
          const run = newRun(inputs, {}, false)
          const trying = tried?.(run)
          const spliced = trying && (await trying)
          if (spliced) return spliced
          const pending = step?.(run, [run.data])
          if (pending) await pending
          return shape(run)
        },
      }
    },

    hydration({ primary, rest }, document, definition) {
      const fragments = fragmentsOf(document, definition)
      const names = naming(definition, fragments)
      const scope = scopeOf(definition, fragments, names, rest)
      if (rest) refuseConflicts(scope, rest)
      const step = rest ? compilePlan(scope, rest) : null
      const paths: readonly PlanPath[] = rest ? pathsOf(rest) : []
      const rewrite = compileRewrites(types, primary.outputRewrites)
      const shapeFor = shapesOf({ definition, fragments }, names)
      return {
        async run(inputs) {
          const { data, errors } = inputs.event ?? {}
          const shape = shapeFor(inputs.coerced)
          if (shape instanceof Error) return { dataText: 'null', errors: [shape] }
          const run = newRun(inputs, dataOf(data), step !== null)
          for (const error of errors ?? []) {
            const path = pathIn(error)
            const at = path ? renamed(path, primary.outputRewrites) : null
            const why = () => knownError(primary.serviceName, error)
            const limit = Number.POSITIVE_INFINITY
            run.told.push({ why, paths: at && [at], limit, holes: [] })
          }
          const pending = step?.(run, [run.data])
          if (pending) await pending
          return shape(run)
        },
      }

      function dataOf(data: SubgraphAnswer['data']): JsonObject {
        if (!data) return {}
        if (!rewrite) return step ? copyAlong(data, paths) : data
        const own = clone(data)
        rewrite(own)
        return own
      }
    },
  }

  function plan(operation: DocumentNode): PlanNode | SubscriptionNode | undefined {
    try {
      return planOf(graph, operation)
    } catch (error) {
      throw new NotPlanned(error)
    }
  }

  function scopeOf(
    definition: OperationDefinitionNode,
    fragments: ReadonlyMap<string, FragmentDefinitionNode>,
    names: Scope['names'],
    node: PlanNode | undefined,
  ): Scope {
    const known = new Map<FetchNode, readonly Demand[]>()
    const demands = (node: FetchNode) => {
      const found = known.get(node) ?? demandsOf(requirements, node)
      known.set(node, found)
      return found
    }
    const mutations = graph.schema.getMutationType()?.getFields() ?? {}
    const endsWhenNull = new Set<string>()
    if (definition.operation === 'mutation') {
      visit(aloneWith(definition, fragments), {
        Field(node) {
          if (isNonNullType(mutations[node.name.value]?.type)) {
            endsWhenNull.add(names.inData(node))
          }
          return false
        },
      })
    }
    const isApart = hasContexts(node)
    const fetches: Scope['fetches'] = new WeakMap()
    return { types, requirements, demands, clients, names, endsWhenNull, isApart, fetches }
  }

  function shapeOf(resolved: Resolved, { inData }: Scope['names']): Shape {
    const selected = { schema: graph.schema, ...resolved, inData }
    const write = compileShape(selected)
    const shown = compileShown(selected)
    return (run) => ({ dataText: write(run), errors: errorsOf(run, shown(run)) })
  }

  function shapesOf(client: Resolved, names: Scope['names']) {
    const variables = conditionVariables(client)
    const shapes = createKept<Shape>()
    return (coerced: Inputs['coerced']): Shape | GraphQLError => {
      const key = conditionKey(variables, coerced)
      if (key instanceof GraphQLError) return key
      return shapes(key, () => shapeOf(resolveConditions(client, coerced), names))
    }
  }
}

/** Makes the answer of what a run brought. */
type Shape = (run: Run) => Answer

function newRun({ variables, coerced, context }: Inputs, data: JsonObject, isShared: boolean): Run {
  return {
    variables,
    coerced,
    context,
    data,
    isShared,
    errors: [],
    told: [],
    skipped: [],
    path: [],
    isEnded: false,
    places: null,
    heard: [],
  }
}

function aloneWith(
  definition: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): DocumentNode {
  return { kind: Kind.DOCUMENT, definitions: [definition, ...fragments.values()] }
}
