import { OPERATOR_ROLE } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { DocumentNode, OperationDefinitionNode } from 'graphql'
import type { OperationCost } from './cost.ts'
import type { Costs } from './costs.ts'
import { checkCost, checkShape, checkVariables, measure, type Shape } from './limits.ts'
import type { Caller, Rates } from './rates.ts'

/** An operation of a document that was parsed and validated. */
export type Operation = {
  readonly document: DocumentNode
  readonly definition: OperationDefinitionNode
  readonly variables: Readonly<Record<string, unknown>>
  readonly idempotencyKey: string | null
}

/**
 * Whether this operation may run for this caller, now. Every face asks it, and no face checks
 * anything of the sort by itself.
 *
 * @returns what it costs at most
 * @throws {DomainError} TOO_COMPLEX, BAD_INPUT, FORBIDDEN or RATE_LIMITED, and says by how much
 */
export type Admit = (operation: Operation, caller: Caller) => Promise<number>

/** An operation counts as one request for each of these that it costs, begun or whole. */
export const COST_OF_REQUEST = 1_000

/**
 * @param introspection `operators`: the schema is shown to platform operators alone
 * @param maxCost of one operation
 */
export function createAdmit({
  rates,
  introspection,
  costs,
  maxCost,
}: {
  rates: Rates
  introspection: 'everyone' | 'operators'
  costs: Pick<Costs, 'of'>
  maxCost: number
}): Admit {
  const known = new WeakMap<OperationDefinitionNode, Measured>()

  return async (operation, caller) => {
    const { document, definition, variables, idempotencyKey } = operation
    const { shape, cost: costOf } = known.get(definition) ?? measured(document, definition)
    const cost = typeof costOf === 'number' ? costOf : costOf(variables)
    const refusal = refusalOf(shape, variables)
    // First: what is refused counts too, and as no more than what could have been admitted.
    const units = refusal ? 1 : unitsOf(Math.min(cost, maxCost))
    await rates.take(definition.operation, caller, units)
    if (refusal) throw refusal
    checkCost(cost, maxCost)
    if (shape.introspects) checkIntrospection(caller)
    if (idempotencyKey !== null) checkKeyed(definition, shape, idempotencyKey)
    return cost
  }

  function measured(document: DocumentNode, definition: OperationDefinitionNode): Measured {
    const made = { shape: measure(document, definition), cost: costs.of(document, definition) }
    known.set(definition, made)
    return made
  }

  function checkIntrospection({ actor }: Caller): void {
    if (introspection === 'everyone' || actor.roles.includes(OPERATOR_ROLE)) return
    throw new DomainError(
      'FORBIDDEN',
      'The schema is shown to operators only: read the published one',
    )
  }
}

type Measured = { readonly shape: Shape; readonly cost: OperationCost }

/** Why no operation of this shape may run, whoever asks. */
function refusalOf(shape: Shape, variables: Operation['variables']): unknown {
  try {
    checkShape(shape)
    checkVariables(variables)
    return null
  } catch (error) {
    return error
  }
}

function unitsOf(cost: number): number {
  return Math.max(1, Math.ceil(cost / COST_OF_REQUEST))
}

/** One key, one effect: with two root fields, one of them could be repeated without the other. */
function checkKeyed(definition: OperationDefinitionNode, shape: Shape, key: string): void {
  if (!/^[\x20-\x7e]{1,257}$/.test(key)) {
    throw new DomainError('BAD_INPUT', 'An idempotency key is 1 to 255 printable ASCII characters')
  }
  if (definition.operation === 'mutation' && shape.rootFields !== 1) {
    throw new DomainError(
      'BAD_INPUT',
      `A request with an idempotency key has one root mutation field, not ${shape.rootFields}`,
    )
  }
}
