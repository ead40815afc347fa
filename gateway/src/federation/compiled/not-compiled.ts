import { DomainError } from '@berth/platform/errors'

/** What may keep an operation from being compiled, each with its reason. */
export const NOT_COMPILED_FEATURES = Object.freeze({
  defer: 'a plan that delivers in parts: no schema here has `@defer`, and no face serves it',
  'plan-node': 'a kind of plan node that a later query planner may bring',
  path: 'a response path with conditions on types, which the planner makes when it is told to',
  bug: 'a fault of the compiler, which must not fail the request',
})

export type NotCompiledFeature = keyof typeof NOT_COMPILED_FEATURES

/** Thrown while an operation is compiled: it runs on the stock executor instead. */
export class NotCompiled extends Error {
  override readonly name = 'NotCompiled'
  readonly feature: NotCompiledFeature

  constructor(feature: NotCompiledFeature, cause?: unknown) {
    super(`not compiled: ${feature}`, cause === undefined ? undefined : { cause })
    this.feature = feature
  }
}

/** The query planner has no plan for the operation: then no executor can run it. */
export class NotPlanned extends Error {
  override readonly name = 'NotPlanned'
  /** What clients are told. */
  readonly refusal: DomainError

  constructor(cause: unknown) {
    super('not planned', { cause })
    this.refusal =
      cause instanceof DomainError
        ? cause
        : new DomainError('INTERNAL', 'the query planner failed', { cause })
  }
}
