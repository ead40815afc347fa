import type { SubscriptionNode } from '@apollo/query-planner'
import type { Authority } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import { type DocumentNode, GraphQLError, Kind, type OperationDefinitionNode } from 'graphql'
import { weightOf, weightOfPlan } from '../admit/documents.ts'
import { type PlanningBudget, UNLIMITED_PLANNING } from '../admit/planning-budget.ts'
import type { Caller } from '../admit/rates.ts'
import type { AuthorityOf } from '../authority.ts'
import type { GatewayContext } from '../context.ts'
import type { Answer, SubgraphAnswer } from './answers.ts'
import { type Compiled, type Compiler, createCompiler } from './compiled/compile.ts'
import { conditionKey, conditionVariables } from './compiled/conditions.ts'
import { fragmentsOf } from './compiled/fragments.ts'
import { NotCompiled, NotPlanned } from './compiled/not-compiled.ts'
import { TRY_OUTCOMES, type TryOutcome } from './compiled/tries.ts'
import type { Flights } from './flights.ts'
import type { Graph } from './graph.ts'
import { createStock } from './stock.ts'
import type { SubgraphClients } from './transport/subgraph-client.ts'
import { createCoerce } from './variables.ts'
import { createVariants } from './variants.ts'

/** What runs plans. The rest of the gateway knows no more of it than this. */
export type Executor = {
  execute(of: Execution): Promise<Answer>
  /**
   * The answer to one event of a subscription: the event, and what other subgraphs add to it. The
   * event is left as it was, so that several may be made of it.
   */
  hydrate(event: SubgraphAnswer, of: Hydration): Promise<Answer>
  /** Compiles ahead, so that the first request finds it. */
  warm(document: DocumentNode, definition: OperationDefinitionNode): void
}

/** An admitted query or mutation. */
export type Execution = {
  readonly source: string
  readonly document: DocumentNode
  readonly definition: OperationDefinitionNode
  readonly operationName: string | null
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
}

export type Hydration = {
  /** Planned with the names of `createNaming`. */
  readonly node: SubscriptionNode
  /** As the client sent it: it decides the shape of the answer. */
  readonly document: DocumentNode
  readonly definition: OperationDefinitionNode
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: GatewayContext
}

/**
 * Runs operations compiled, and on the stock executor what cannot be compiled. An operation is
 * compiled once for each way that its conditions turn out, and kept as long as its parsed definition
 * is, which the documents' cache bounds.
 */
export function createExecutor({
  graph,
  clients,
  authorityOf,
  flights,
  budget = UNLIMITED_PLANNING,
  hideSchema = false,
  onPlanned,
  metrics,
  log,
}: {
  graph: Graph
  clients: SubgraphClients
  authorityOf: AuthorityOf
  flights: Flights
  /** Of which callers pay for operations that are new here. */
  budget?: PlanningBudget
  /** Whether names of the schema are kept from clients. */
  hideSchema?: boolean
  /** Told of what is kept as long as a document is, by the requests to subgraphs that it has. */
  onPlanned?: (document: DocumentNode, fetches: number) => void
  metrics: Metrics
  log: Log
}): Executor {
  let fetches = 0
  const onPlan = (count: number) => {
    fetches += count
  }
  const lanes = createLanes(metrics, log)
  const compiler = createCompiler({ graph: { ...graph, onPlan }, clients, onTry: lanes.tried })
  const coerce = createCoerce(graph.schema, { hideSchema })
  const stock = createStock({ graph, clients, log })
  const conditions = new WeakMap<OperationDefinitionNode, readonly string[]>()
  const variants = createVariants<Operation>()
  const hydrations = new WeakMap<SubscriptionNode, Operation>()
  let lastId = 0

  return {
    async execute(of) {
      const { document, definition, variables, context } = of
      const { coerced, errors } = coerce(definition, variables)
      if (errors) return refused(errors)
      const operation = operationFor(document, definition, coerced, context)
      if (operation instanceof GraphQLError) return { dataText: 'null', errors: [operation] }
      if (operation instanceof DomainError) return refused([operation])
      if (operation.refusal) return refused([operation.refusal])
      if (definition.operation !== 'query') {
        try {
          return await run(operation, of, coerced, context)
        } finally {
          // Whoever reads from now on reads what was written.
          flights.wrote(context.actor)
        }
      }
      const credentials = context.credentials.narrow(operation.authority)
      const isSame = credentials === context.credentials
      const narrowed = isSame ? context : { ...context, credentials }
      if (credentials.isAlone) return run(operation, of, coerced, narrowed)
      const key = `${operation.id} ${JSON.stringify([credentials.sharingKey, variables])}`
      return flights.share(key, context.actor, () => run(operation, of, coerced, narrowed))
    },
    async hydrate(event, of) {
      const { node, document, definition, variables, context } = of
      const { coerced, errors } = coerce(definition, variables)
      if (errors) return refused(errors)
      let hydration = hydrations.get(node)
      if (!hydration) {
        hydration = compile(document, definition, (it) => it.hydration(node, document, definition))
        hydrations.set(node, hydration)
      }
      const { compiled } = hydration
      lanes.count(compiled)
      return compiled
        ? compiled.run({ variables, coerced, context, event })
        : stock.hydrate(event, of)
    },
    warm(document, definition) {
      const likely: Record<string, unknown> = {}
      for (const { variable, defaultValue } of definition.variableDefinitions ?? []) {
        likely[variable.name.value] =
          defaultValue?.kind === Kind.BOOLEAN ? defaultValue.value : true
      }
      operationFor(document, definition, likely, null)
    },
  }

  function operationFor(
    document: DocumentNode,
    definition: OperationDefinitionNode,
    coerced: Readonly<Record<string, unknown>>,
    caller: Caller | null,
  ): Operation | GraphQLError | DomainError {
    let names = conditions.get(definition)
    if (!names) {
      names = conditionVariables({ definition, fragments: fragmentsOf(document, definition) })
      conditions.set(definition, names)
    }
    const key = conditionKey(names, coerced)
    if (key instanceof GraphQLError) return key
    const known = variants.find(definition, key)
    if (known) return known
    const make = () => {
      fetches = 0
      return compile(document, definition, (it) => it.operation(document, definition, coerced))
    }
    try {
      const made = caller ? budget.spend(caller, make) : make()
      const weight = weightOf(document) + weightOfPlan(fetches)
      if (variants.keep(definition, key, made, weight)) onPlanned?.(document, fetches)
      return made
    } catch (error) {
      if (error instanceof DomainError) return error
      throw error
    }
  }

  function compile(
    document: DocumentNode,
    definition: OperationDefinitionNode,
    by: (compiler: Compiler) => Compiled,
  ): Operation {
    const fragments = document.definitions.filter((it) => it.kind === Kind.FRAGMENT_DEFINITION)
    const authority = authorityOf(definition, fragments)
    return { id: ++lastId, authority, ...lanes.attempt(() => by(compiler)) }
  }

  function run(
    { compiled }: Operation,
    of: Execution,
    coerced: Record<string, unknown>,
    context: GatewayContext,
  ): Promise<Answer> {
    lanes.count(compiled)
    return compiled
      ? compiled.run({ variables: of.variables, coerced, context })
      : stock.execute({ ...of, context })
  }
}

type Operation = Attempt & { readonly id: number; readonly authority: Authority }

type Attempt = {
  /** Null: it runs on the stock executor. */
  readonly compiled: Compiled | null
  /** Why it runs nowhere. */
  readonly refusal: DomainError | null
}

function createLanes(metrics: Metrics, log: Log) {
  const ran = metrics.counter('berth_gateway_operations_total', 'Operations run, by lane', ['lane'])
  const refused = metrics.counter(
    'berth_gateway_not_compiled_total',
    'Operations that were not compiled, by the feature that kept them from it',
    ['feature'],
  )
  const tries = metrics.counter(
    'berth_gateway_spliced_total',
    'Runs of compiled queries, by how they went without parsing what subgraphs answer',
    ['outcome'],
  )
  // Found by its label, each would be looked for every time.
  const triesBy = new Map(TRY_OUTCOMES.map((outcome) => [outcome, tries.labels({ outcome })]))
  return {
    tried(outcome: TryOutcome, error?: unknown): void {
      triesBy.get(outcome)?.inc()
      if (outcome === 'bug') log.error({ err: error }, 'an operation was not spliced')
    },
    count: (compiled: Compiled | null) => ran.inc(compiled ? COMPILED : STOCK),
    attempt(compile: () => Compiled): Attempt {
      try {
        return { compiled: compile(), refusal: null }
      } catch (error) {
        if (error instanceof NotPlanned) return { compiled: null, refusal: error.refusal }
        const feature = error instanceof NotCompiled ? error.feature : 'bug'
        refused.inc({ feature })
        if (feature === 'bug') log.error({ err: error }, 'an operation was not compiled')
        return { compiled: null, refusal: null }
      }
    },
  }
}

const COMPILED = Object.freeze({ lane: 'compiled' as const })
const STOCK = Object.freeze({ lane: 'stock' as const })

function refused(errors: readonly Error[]): Answer {
  return { dataText: undefined, errors }
}
