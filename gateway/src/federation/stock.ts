import { operationFromDocument } from '@apollo/federation-internals'
import { buildOperationContext, executeQueryPlan, type GraphQLDataSource } from '@apollo/gateway'
import type { QueryPlan } from '@apollo/query-planner'
import type { Log } from '@berth/platform/log'
import {
  type DocumentNode,
  type ExecutionResult,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'
import { type Answer, type SubgraphAnswer, withKnownErrors } from './answers.ts'
import { fragmentsOf } from './compiled/fragments.ts'
import { createNaming, keyOf, type Names } from './compiled/names.ts'
import { createDataSource } from './data-source.ts'
import type { Execution, Hydration } from './executor.ts'
import type { Graph } from './graph.ts'
import type { SubgraphClients } from './transport/subgraph-client.ts'

export type Stock = {
  execute(of: Execution): Promise<Answer>
  hydrate(event: SubgraphAnswer, of: Hydration): Promise<Answer>
}

/** The executor of @apollo/gateway, for what is not compiled. */
export function createStock({
  graph,
  clients,
  log,
}: {
  graph: Graph
  clients: SubgraphClients
  log: Log
}): Stock {
  const logger = apolloLog(log)
  const sources: Record<string, GraphQLDataSource> = Object.fromEntries(
    Object.entries(clients).map(([service, client]) => [
      service,
      createDataSource(service, client),
    ]),
  )
  const naming = createNaming(graph.supergraph, graph.schema)
  const plans = new WeakMap<OperationDefinitionNode, QueryPlan>()

  return {
    execute({ document, definition, variables, context }) {
      const alone = aloneIn(document, definition)
      let plan = plans.get(definition)
      if (!plan) {
        plan = graph.planner.buildQueryPlan(operationFromDocument(graph.api, alone, {}))
        plans.set(definition, plan)
      }
      return run(plan, sources, { document: alone, variables, context })
    },
    async hydrate(event, { node: { primary, rest }, document, definition, variables, context }) {
      const fragments = fragmentsOf(document, definition)
      const names = naming(definition, fragments)
      let isAnswered = false
      // The executor refuses to run a Subscription node: it is given a sequence instead, whose first
      // fetch the event answers.
      const answeredByEvent: GraphQLDataSource = {
        async process(options) {
          if (isAnswered || options.request.query !== primary.operation) {
            return required(sources, primary.serviceName).process(options)
          }
          isAnswered = true
          // Cloned, because the executor writes what it adds into what it is given.
          return withKnownErrors(primary.serviceName, structuredClone(event))
        },
      }
      const node = { kind: 'Sequence', nodes: rest ? [primary, rest] : [primary] } as const
      const { dataText, errors } = await run(
        { kind: 'QueryPlan', node: { ...node, nodes: [...node.nodes] } },
        { ...sources, [primary.serviceName]: answeredByEvent },
        { document: names.document, variables, context },
      )
      const data: unknown = JSON.parse(dataText ?? 'null')
      const shown = rename(data, [definition.selectionSet], { fragments, inData: names.inData })
      return { dataText: JSON.stringify(shown), errors }
    },
  }

  async function run(
    plan: QueryPlan,
    serviceMap: Record<string, GraphQLDataSource>,
    { document, variables, context }: Pick<Hydration, 'document' | 'variables' | 'context'>,
  ): Promise<Answer> {
    const request = { request: { variables: { ...variables } }, context, metrics: {}, logger }
    const result = await executeQueryPlan(
      plan,
      serviceMap,
      request as unknown as Parameters<typeof executeQueryPlan>[2],
      buildOperationContext({ schema: graph.schema, operationDocument: document }),
      graph.supergraph,
      graph.api,
    )
    return answerOf(result as ExecutionResult)
  }
}

type Renamed = Pick<Names, 'inData'> & {
  readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>
}

/** The client's names in the place of the plan's. */
function rename(value: unknown, sets: readonly SelectionSetNode[], of: Renamed): unknown {
  if (Array.isArray(value)) return value.map((it) => rename(it, sets, of))
  if (typeof value !== 'object' || value === null) return value
  const fields = new Map<string, { key: string; below: SelectionSetNode[] }>()
  for (const set of sets) add(set)
  return Object.fromEntries(
    Object.entries(value).map(([dataKey, it]) => {
      const { key, below } = fields.get(dataKey) ?? { key: dataKey, below: [] }
      return [key, below.length > 0 ? rename(it, below, of) : it]
    }),
  )

  function add({ selections }: SelectionSetNode): void {
    for (const it of selections) {
      if (it.kind !== Kind.FIELD) {
        const fragment = it.kind === Kind.INLINE_FRAGMENT ? it : of.fragments.get(it.name.value)
        if (fragment) add(fragment.selectionSet)
        continue
      }
      const dataKey = of.inData(it)
      const field = fields.get(dataKey) ?? { key: keyOf(it), below: [] }
      if (it.selectionSet) field.below.push(it.selectionSet)
      fields.set(dataKey, field)
    }
  }
}

function required(sources: Record<string, GraphQLDataSource>, name: string): GraphQLDataSource {
  const source = sources[name]
  if (!source) throw new TypeError(`no client for the subgraph ${name}`)
  return source
}

/** The operation without the others of its document. */
function aloneIn(document: DocumentNode, definition: OperationDefinitionNode): DocumentNode {
  const fragments = document.definitions.filter((it) => it.kind === Kind.FRAGMENT_DEFINITION)
  return { ...document, definitions: [definition, ...fragments] }
}

/** A null where the schema allows none is an error, wherever the executor puts it. */
function answerOf({ data, errors, extensions }: ExecutionResult): Answer {
  const { valueCompletion } = extensions ?? {}
  const told = errors ?? (Array.isArray(valueCompletion) ? valueCompletion : [])
  return { dataText: data === undefined ? undefined : JSON.stringify(data), errors: told }
}

/** Apollo tells of its start at `info`; that is detail here. */
function apolloLog(log: Log) {
  const at = (level: 'debug' | 'warn' | 'error') => (message: unknown) =>
    log[level](String(message))
  return { debug: at('debug'), info: at('debug'), warn: at('warn'), error: at('error') }
}
