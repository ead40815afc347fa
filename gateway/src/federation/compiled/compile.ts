import { operationFromDocument } from '@apollo/federation-internals'
import type { PlanNode, SubscriptionNode } from '@apollo/query-planner'
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
import { knownError, type SubgraphAnswer } from '../answers.ts'
import type { Answer } from '../executor.ts'
import type { Graph } from '../graph.ts'
import type { SubgraphClients } from '../transport/subgraph-client.ts'
import { conditionKey, conditionVariables } from './conditions.ts'
import { pathIn, type Scope } from './fetch.ts'
import { keysOf } from './holes.ts'
import { clone, type JsonObject } from './json.ts'
import { createNaming, keyOf, SAME_NAMES } from './names.ts'
import { NotCompiled, NotPlanned } from './not-compiled.ts'
import { copyAlong, type PlanPath } from './paths.ts'
import { compilePlan, hasContexts, pathsOf } from './plan.ts'
import { compileRewrites, renamed } from './rewrites.ts'
import type { Run } from './run.ts'
import { compileShape } from './shape.ts'
import { createTypes } from './types.ts'

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
   * A query or mutation: its plan as closures, and the writer of its answer.
   *
   * @throws {NotCompiled}
   * @throws {NotPlanned}
   */
  operation(document: DocumentNode, definition: OperationDefinitionNode): Compiled
  /** What completes the events of a subscription. @throws {NotCompiled} */
  hydration(
    node: SubscriptionNode,
    document: DocumentNode,
    definition: OperationDefinitionNode,
  ): Compiled
}

/** What there may be of one operation for different values of its conditions, at one time. */
const MAX_SHAPES = 16

export function createCompiler({
  graph,
  clients,
}: {
  graph: Graph
  clients: SubgraphClients
}): Compiler {
  const types = createTypes(graph.supergraph)
  const naming = createNaming(graph.supergraph, graph.schema)
  return {
    operation(document, definition) {
      const fragments = fragmentsOf(document, definition)
      const names = naming(definition, fragments)
      const node = plan(names.document)
      if (node?.kind === 'Subscription') throw new NotCompiled('plan-node')
      const scope = scopeOf(definition, fragments, names, node)
      const step = node ? compilePlan(scope, node) : null
      const shapeFor = shapesOf(definition, fragments, names)
      return {
        async run(inputs) {
          const shape = shapeFor(inputs.coerced)
          if (shape instanceof Error) return { dataText: 'null', errors: [shape] }
          const run = newRun(inputs, {}, false)
          const pending = step?.(run, [run.data])
          if (pending) await pending
          return { dataText: shape(run), errors: run.errors }
        },
      }
    },

    hydration({ primary, rest }, document, definition) {
      const fragments = fragmentsOf(document, definition)
      const scope = scopeOf(definition, fragments, SAME_NAMES, rest)
      const step = rest ? compilePlan(scope, rest) : null
      const paths: readonly PlanPath[] = rest ? pathsOf(rest) : []
      const rewrite = compileRewrites(types, primary.outputRewrites)
      const shapeFor = shapesOf(definition, fragments, SAME_NAMES)
      return {
        async run(inputs) {
          const { data, errors } = inputs.event ?? {}
          const shape = shapeFor(inputs.coerced)
          if (shape instanceof Error) return { dataText: 'null', errors: [shape] }
          const run = newRun(inputs, dataOf(data), step !== null)
          for (const error of errors ?? []) {
            const originalError = knownError(primary.serviceName, error)
            const path = pathIn(error)
            const at = path ? renamed(path, primary.outputRewrites) : null
            run.errors.push(new GraphQLError(originalError.message, { originalError, path: at }))
          }
          const pending = step?.(run, [run.data])
          if (pending) await pending
          return { dataText: shape(run), errors: run.errors }
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
      return graph.planner.buildQueryPlan(operationFromDocument(graph.api, operation, {})).node
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
    const keys = keysOf([definition.selectionSet], fragments)
    const mutations = graph.schema.getMutationType()?.getFields() ?? {}
    const endsWhenNull = new Map<string, string>()
    if (definition.operation === 'mutation') {
      visit(aloneWith(definition, fragments), {
        Field(node) {
          if (isNonNullType(mutations[node.name.value]?.type)) {
            endsWhenNull.set(keyOf(node), names.inData(node))
          }
          return false
        },
      })
    }
    return { types, clients, keys, names, endsWhenNull, isApart: hasContexts(node) }
  }

  function shapesOf(
    definition: OperationDefinitionNode,
    fragments: ReadonlyMap<string, FragmentDefinitionNode>,
    { inData }: Scope['names'],
  ) {
    const names = conditionVariables([definition, ...fragments.values()])
    const compile = (conditions: Inputs['coerced']) =>
      compileShape({ schema: graph.schema, definition, fragments, conditions, inData })
    const shapes = new Map<string, (run: Run) => string>()
    const fixed = names.length === 0 ? compile({}) : null
    return (coerced: Inputs['coerced']): ((run: Run) => string) | GraphQLError => {
      if (fixed) return fixed
      const key = conditionKey(names, coerced)
      if (key instanceof GraphQLError) return key
      let shape = shapes.get(key)
      if (!shape) {
        shape = compile(coerced)
        if (shapes.size >= MAX_SHAPES) shapes.clear()
        shapes.set(key, shape)
      }
      return shape
    }
  }
}

function newRun({ variables, coerced, context }: Inputs, data: JsonObject, isShared: boolean): Run {
  return {
    variables,
    coerced,
    context,
    data,
    isShared,
    errors: [],
    explained: [],
    skipped: [],
    path: [],
    isEnded: false,
    places: null,
  }
}

/** The fragments that the operation uses: the document may have others, with variables of others. */
function fragmentsOf(
  { definitions }: DocumentNode,
  definition: OperationDefinitionNode,
): Map<string, FragmentDefinitionNode> {
  const all = new Map<string, FragmentDefinitionNode>()
  for (const it of definitions) if (it.kind === Kind.FRAGMENT_DEFINITION) all.set(it.name.value, it)
  const used = new Map<string, FragmentDefinitionNode>()
  use(definition)
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

function aloneWith(
  definition: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): DocumentNode {
  return { kind: Kind.DOCUMENT, definitions: [definition, ...fragments.values()] }
}
