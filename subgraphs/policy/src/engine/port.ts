import type { ActorKind } from '@berth/platform/actor'
import type { Id } from '@berth/platform/ids'
import type { ActionName } from '@berth/schema/actions'

/** Who asks, by what a decision may depend on: nobody in particular. */
export type CallerAuthority = {
  readonly kind: ActorKind
  readonly organizationId: Id<'org'> | null
  readonly roles: readonly string[]
}

export type FactValue = string | number | boolean
export type Facts = Readonly<Record<string, FactValue>>

/**
 * What is asked. `best`: the facts are not known, and are to be taken for the most favourable ones;
 * `worst`: for the least favourable. An engine that cannot tell exactly may answer `best` with too much
 * and `worst` with too little, never the other way round.
 */
export type Question = {
  readonly authority: CallerAuthority
  readonly action: ActionName
  readonly facts: Facts | 'best' | 'worst'
}

/** Whose rules. */
export type RulesLevel = 'PLATFORM' | 'ORGANIZATION'

/** What rules say together: those of the platform with its roles, or those of one organization. */
export type RuleSet = {
  readonly level: RulesLevel
  /** Role → the actions that it is permitted. */
  readonly roles: Readonly<Record<string, readonly ActionName[]>>
  /** In the engine's language; empty when there are none. */
  readonly rules: string
}

/** `forbid` before `permit`; `silent` when no rule applies; `error` when one could not be evaluated. */
export type Verdict = 'permit' | 'forbid' | 'silent' | 'error'

/**
 * Evaluates rules. Who may undo what, and how far an organization's permits reach, is not its business
 * but that of `decide.ts`.
 */
export type PolicyEngine = {
  /**
   * @returns what is wrong with the rules, by line; nothing when they may be set
   * @throws {DomainError} UNAVAILABLE when there is no engine to ask
   */
  validate(rules: string, level: RulesLevel): Promise<readonly string[]>
  /**
   * What cannot be evaluated is an `error`, and logged.
   *
   * @throws {DomainError} UNAVAILABLE when there is no engine to ask
   */
  evaluate(rules: RuleSet, question: Question): Promise<Verdict>
}

type Limits = { readonly characters: number; readonly policies: number }

/** An organization's decisions must not take so long that others wait for them. */
export const rulesLimits: Readonly<Record<RulesLevel, Limits>> = {
  PLATFORM: { characters: 50_000, policies: 200 },
  ORGANIZATION: { characters: 16_000, policies: 50 },
}
