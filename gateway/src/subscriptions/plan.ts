import type { SubscriptionNode } from '@apollo/query-planner'
import type { Authority } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import {
  type DocumentNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLSchema,
  getArgumentValues,
  getNamedType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  print,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql'
import { type PlanningBudget, UNLIMITED_PLANNING } from '../admit/planning-budget.ts'
import type { Caller } from '../admit/rates.ts'
import type { AuthorityOf } from '../authority.ts'
import { fragmentsOf } from '../federation/compiled/fragments.ts'
import { type CreateNames, createNaming } from '../federation/compiled/names.ts'
import type { Graph } from '../federation/graph.ts'
import { fetchesIn, planOf } from '../federation/planning.ts'
import { type Coerce, createCoerce } from '../federation/variables.ts'

/** How a subscription is served: whom to subscribe to, and what to add to each of its events. */
export type SubscriptionPlan = {
  /** For which it was made. */
  readonly schema: GraphQLSchema
  readonly document: DocumentNode
  readonly definition: OperationDefinitionNode
  /** `primary` is the owner's part; `rest`, if any, what hydrates an event. */
  readonly node: SubscriptionNode
  readonly service: string
  readonly authority: Authority
  /** Null when a lost event of this stream is lost: it has no positions. */
  readonly durable: Durable | null
  /** Names of the client's variables that the answer depends on: where it begins is none of them. */
  readonly variableNames: readonly string[]
  /**
   * The variables to subscribe with, and where the client wants to start.
   *
   * @throws {AggregateError} of GraphQLErrors when the client's variables do not fit
   */
  bind(variables: Readonly<Record<string, unknown>>): Binding
}

/** The names under which the gateway itself asks for positions. */
export type Durable = {
  /** Variable of the upstream operation that says after which position to start. */
  readonly afterVariable: string
  /** Response name of the event's position, below that of the field. */
  readonly cursorName: string
  /** The field's, in the event. */
  readonly fieldName: string
}

export type Binding = {
  readonly variables: Readonly<Record<string, unknown>>
  readonly after: string | null
}

/**
 * @param caller who pays for a plan that is new; nobody does for what the gateway asks for itself
 * @throws {DomainError} BAD_INPUT, TOO_COMPLEX, or RATE_LIMITED for who has planned too much
 */
export type Planner = (
  document: DocumentNode,
  definition: OperationDefinitionNode,
  caller?: Caller,
) => SubscriptionPlan

/**
 * Plans subscriptions with the planner that plans queries. Plans are kept as long as their document
 * is, which the documents' cache bounds.
 *
 * @param durableStreams whether fields that look like streams with positions are
 * @param hideSchema whether names of the schema are kept from clients
 * @param onPlanned told of what is kept as long as a document is, by the requests that it has
 */
export function createPlanner(
  graph: Graph,
  authorityOf: AuthorityOf,
  {
    durableStreams = true,
    budget = UNLIMITED_PLANNING,
    hideSchema = false,
    onPlanned,
  }: {
    durableStreams?: boolean
    budget?: PlanningBudget
    hideSchema?: boolean
    onPlanned?: (document: DocumentNode, fetches: number) => void
  } = {},
): Planner {
  const plans = new WeakMap<OperationDefinitionNode, SubscriptionPlan | DomainError>()
  const naming = createNaming(graph.supergraph, graph.schema)
  const coerce = createCoerce(graph.schema, { hideSchema })
  const options = { authorityOf, durableStreams, naming, coerce }
  return (document, definition, caller) => {
    let plan = plans.get(definition)
    if (!plan) {
      const make = () => attempt(document, definition)
      plan = caller ? budget.spend(caller, make) : make()
      plans.set(definition, plan)
      if (!(plan instanceof DomainError)) onPlanned?.(document, fetchesIn(plan.node))
    }
    if (plan instanceof DomainError) throw plan
    return plan
  }

  /** What has no plan is not planned again each time that it is sent. */
  function attempt(
    document: DocumentNode,
    definition: OperationDefinitionNode,
  ): SubscriptionPlan | DomainError {
    try {
      return subscriptionPlanOf(graph, options, document, definition)
    } catch (error) {
      if (error instanceof DomainError) return error
      throw error
    }
  }
}

/** Whether a subscription field has positions: it takes `after`, and its payload has a `cursor`. */
export function isDurable(field: GraphQLField<unknown, unknown>): boolean {
  const payload = getNamedType(field.type)
  return (
    field.args.some((it) => it.name === 'after') &&
    isObjectType(payload) &&
    'cursor' in payload.getFields()
  )
}

function subscriptionPlanOf(
  graph: Graph,
  {
    authorityOf,
    durableStreams,
    naming,
    coerce,
  }: { authorityOf: AuthorityOf; durableStreams: boolean; naming: CreateNames; coerce: Coerce },
  document: DocumentNode,
  definition: OperationDefinitionNode,
): SubscriptionPlan {
  const alone = { ...document, definitions: document.definitions.filter(isNoOtherOperation) }
  const { field, node: fieldNode } = rootField(graph.schema, alone)
  if (fieldNode.directives && fieldNode.directives.length > 0) {
    throw new DomainError('BAD_INPUT', 'The field of a subscription takes no directives')
  }
  const fragments = alone.definitions.filter((it) => it.kind === Kind.FRAGMENT_DEFINITION)
  // As the executor will name what it finds in an event.
  const names = naming(definition, fragmentsOf(document, definition))
  const durable =
    durableStreams && isDurable(field) ? namesFor(document, names.inData(fieldNode)) : null
  const upstream = durable ? withPosition(graph.schema, names.document, durable) : names.document
  const node = planOf(graph, upstream)
  if (node?.kind !== 'Subscription') throw new TypeError(`planned as ${node?.kind}`)
  const { primary } = node

  return Object.freeze({
    schema: graph.schema,
    document: alone,
    definition,
    node,
    service: primary.serviceName,
    authority: authorityOf(definition, fragments),
    durable,
    variableNames: variablesIn(upstream)
      .filter((name) => name !== durable?.afterVariable)
      .map(names.variable),
    bind(variables: Readonly<Record<string, unknown>>) {
      const { coerced, errors } = coerce(definition, variables)
      if (errors) throw new AggregateError(errors)
      const { after } = getArgumentValues(field, fieldNode, coerced)
      const used = (primary.variableUsages ?? []).flatMap((planned) => {
        const name = names.variable(planned)
        return Object.hasOwn(variables, name) ? [[planned, variables[name]] as const] : []
      })
      return {
        variables: Object.fromEntries(used),
        after: durable && typeof after === 'string' ? after : null,
      }
    },
  })

  function isNoOtherOperation(it: DocumentNode['definitions'][number]): boolean {
    return it === definition || it.kind === Kind.FRAGMENT_DEFINITION
  }
}

function rootField(schema: GraphQLSchema, document: DocumentNode) {
  const root = schema.getSubscriptionType()
  const types = new TypeInfo(schema)
  let found: FieldNode | undefined
  visit(
    document,
    visitWithTypeInfo(types, {
      Field(node) {
        if (types.getParentType() !== root) return undefined
        found ??= node
        return false
      },
    }),
  )
  const field = found && root?.getFields()[found.name.value]
  if (!found || !field) throw new DomainError('BAD_INPUT', 'This is not a subscription')
  return { field, node: found }
}

function variablesIn(document: DocumentNode): string[] {
  const names = new Set<string>()
  visit(document, {
    VariableDefinition: () => false,
    Variable: ({ name }) => void names.add(name.value),
  })
  return [...names].sort()
}

/** Names that occur nowhere in the client's document. */
function namesFor(document: DocumentNode, fieldName: string): Durable {
  const text = print(document)
  const free = (wanted: string): string => (text.includes(wanted) ? free(`${wanted}_`) : wanted)
  return {
    afterVariable: free('berthAfter'),
    cursorName: free('berthCursor'),
    fieldName,
  }
}

/**
 * The same operation, with `after` under the gateway's own variable and the position of each event
 * in its answer, whatever the client asked for.
 */
function withPosition(schema: GraphQLSchema, document: DocumentNode, names: Durable): DocumentNode {
  const root = schema.getSubscriptionType()
  const types = new TypeInfo(schema)
  const { afterVariable, cursorName } = names
  const withField = visit(
    document,
    visitWithTypeInfo(types, {
      Field(node) {
        if (types.getParentType() !== root) return undefined
        const others = (node.arguments ?? []).filter((it) => it.name.value !== 'after')
        const cursor = {
          kind: Kind.FIELD,
          name: named('cursor'),
          alias: named(cursorName),
        } as const
        const after = { kind: Kind.ARGUMENT, name: named('after'), value: variable() } as const
        return {
          ...node,
          arguments: [...others, after],
          selectionSet: {
            kind: Kind.SELECTION_SET,
            selections: [cursor, ...(node.selectionSet?.selections ?? [])],
          },
        }
      },
    }),
  )
  return visit(withField, {
    OperationDefinition(node) {
      const type = { kind: Kind.NAMED_TYPE, name: named('String') } as const
      const after = { kind: Kind.VARIABLE_DEFINITION, variable: variable(), type } as const
      const definitions = node.variableDefinitions ?? []
      return { ...node, variableDefinitions: [...definitions, after] }
    },
  })

  function variable() {
    return { kind: Kind.VARIABLE, name: named(afterVariable) } as const
  }
}

function named(value: string) {
  return { kind: Kind.NAME, value } as const
}
