import { OPERATOR_ROLE } from '@berth/platform/actor'
import { DomainError } from '@berth/platform/errors'
import type { DocumentNode, OperationDefinitionNode } from 'graphql'
import { checkShape, checkVariables, measure, type Shape } from './limits.ts'
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
 * @throws {DomainError} TOO_COMPLEX, BAD_INPUT, FORBIDDEN or RATE_LIMITED, and says by how much
 */
export type Admit = (operation: Operation, caller: Caller) => Promise<void>

/** @param introspection `operators`: the schema is shown to platform operators alone */
export function createAdmit({
  rates,
  introspection,
}: {
  rates: Rates
  introspection: 'everyone' | 'operators'
}): Admit {
  const shapes = new WeakMap<OperationDefinitionNode, Shape>()

  return async (operation, caller) => {
    const { document, definition, variables, idempotencyKey } = operation
    // First: what is refused counts too.
    await rates.take(definition.operation, caller)
    const shape = shapes.get(definition) ?? measure(document, definition)
    shapes.set(definition, shape)
    checkShape(shape)
    checkVariables(variables)
    if (shape.introspects) checkIntrospection(caller)
    if (idempotencyKey !== null) checkKeyed(definition, shape, idempotencyKey)
  }

  function checkIntrospection({ actor }: Caller): void {
    if (introspection === 'everyone' || actor.roles.includes(OPERATOR_ROLE)) return
    throw new DomainError(
      'FORBIDDEN',
      'The schema is shown to operators only: read the published one',
    )
  }
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
