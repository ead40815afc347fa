import { createRequire } from 'node:module'
import type { GraphQLResolveInfo } from 'graphql'
import type * as GraphqlShield from 'graphql-shield'
import { type Actor, OPERATOR_ROLE, requireOrganization } from './actor.ts'
import { DomainError, ERROR_CODES } from './errors.ts'
import type { PolicyClient } from './policy-client.ts'

// The ESM build imports a name that Node 23 removed, and fails to load; the CommonJS build loads.
// Its `chain` and `race` fail on that name when asked, and its `not` makes a permission of an
// error: none of the three is passed on.
export const lib: typeof GraphqlShield = createRequire(import.meta.url)('graphql-shield')

const ANSWERS = Symbol('answers of rules')
export type ShieldedContext = { [ANSWERS]?: Map<unknown, Answer | Promise<Answer>> }

/** Whether a rule is known to grant without waiting; `false` says nothing, and shield finds out. */
export type AtOnce = (context: ShieldedContext) => boolean

const grantsAtOnce = new WeakMap<Rule, AtOnce>()

export const { allow, deny } = lib

/** A rule, or rules joined by `and` and `or`. */
export type Rule = Parameters<typeof lib.and>[number]

/** Whether all of the rules say yes. */
export function and(...rules: Rule[]): Rule {
  const joined = lib.and(...rules)
  grantsAtOnce.set(joined, allAtOnce(rules))
  return joined
}

/**
 * Whether one of the rules says yes. When none does, "not now" comes before "no": a refusal would
 * be taken for final, though the rule that could not be asked might have granted it.
 */
export function or(...rules: Rule[]): Rule {
  const joined = lib.or(...rules)
  const evaluate = joined.evaluate.bind(joined)
  joined.evaluate = async (...of) =>
    (await evaluate(...of)).sort((a, b) => Number(mayPass(b)) - Number(mayPass(a)))
  grantsAtOnce.set(joined, anyAtOnce(rules))
  return joined
}

function mayPass(answer: unknown): boolean {
  return answer instanceof DomainError && ERROR_CODES[answer.code].retryable
}

/** For an object type: one rule for all its fields, or one per field and `'*'` for the others. */
export type Rules = Readonly<Record<string, Rule | Readonly<Record<string, Rule>>>>

/** What the named rules of this module read of a context. */
export type RuleContext = { readonly actor: Actor; readonly policy?: Pick<PolicyClient, 'can'> }

/**
 * `rule('unique name')(ask)`. What `ask` throws or returns as an error is what the client gets;
 * shield alone would make FORBIDDEN of a thrown one. It is asked for every field and value anew.
 */
export function rule(name: string) {
  return <C = RuleContext, A = Record<string, unknown>, P = unknown>(
    ask: (parent: P, args: A, context: C, info: GraphQLResolveInfo) => Answer | Promise<Answer>,
  ): Rule => lib.rule(name)((...of: Parameters<typeof ask>) => answerTo(() => ask(...of)))
}

/** A rule that depends on the context alone: asked once per operation, and once per event of one. */
export function contextRule<C = RuleContext>(
  name: string,
  ask: (context: C) => Answer | Promise<Answer>,
): Rule {
  const answerIn = (context: ShieldedContext): Answer | Promise<Answer> => {
    const answers = answersIn(context)
    const known = answers.get(answerIn)
    if (known !== undefined) return known
    const answer = answerTo(() => ask(context as C))
    answers.set(answerIn, answer)
    if (answer instanceof Promise) void answer.then((it) => answers.set(answerIn, it))
    return answer
  }
  // Kept by ourselves: shield keeps an answer under the rule's name, which another may have, and
  // makes everybody wait for it.
  const made: Rule = lib.rule(name)((_parent, _args, context: ShieldedContext) => answerIn(context))
  grantsAtOnce.set(made, (context) => answerIn(context) === true)
  return made
}

type Answer = boolean | Error

function answersIn(context: ShieldedContext): Map<unknown, Answer | Promise<Answer>> {
  const known = context[ANSWERS]
  if (known) return known
  const none = new Map()
  context[ANSWERS] = none
  return none
}

/** What was answered in this context holds no more. */
export function forgetAnswers(context: ShieldedContext): void {
  delete context[ANSWERS]
}

/** Rejects never. */
function answerTo(ask: () => Answer | Promise<Answer>): Answer | Promise<Answer> {
  try {
    const answer = ask()
    return answer instanceof Promise ? answer.catch(errorOf) : answer
  } catch (error) {
    return errorOf(error)
  }
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

const namedRules = new Map<string, Rule>()

export const isAuthenticated = contextRule(
  'isAuthenticated',
  ({ actor }) => actor.kind !== 'anonymous' || signIn(),
)

/** The actor is known and acts in an organization. */
export const inOrganization = contextRule(
  'inOrganization',
  ({ actor }) => requireOrganization(actor) !== null,
)

/** The actor holds at least one of these roles. */
export function hasRole(...roles: [string, ...string[]]): Rule {
  return named(`hasRole(${roles.join()})`, ({ actor }) => {
    if (roles.some((role) => actor.roles.includes(role))) return true
    return actor.kind === 'anonymous' ? signIn() : forbidden(`the role ${roles.join(' or ')}`)
  })
}

export const isOperator = hasRole(OPERATOR_ROLE)

/** The policies grant the actor this action, such as `allocation:create`. */
export function mayDo(action: string): Rule {
  return named(`mayDo(${action})`, ({ actor, policy }) => {
    if (!policy) throw new TypeError('the context has no policy client')
    const refusal = () =>
      actor.kind === 'anonymous' ? signIn() : forbidden(`the permission ${action}`)
    const isGranted = policy.can(actor, action)
    if (typeof isGranted === 'boolean') return isGranted || refusal()
    return isGranted.then((it) => it || refusal())
  })
}

export function atOnce(by: Rule): AtOnce {
  return grantsAtOnce.get(by) ?? (() => by === allow)
}

function allAtOnce(rules: readonly Rule[]): AtOnce {
  const each = rules.map(atOnce)
  return (context) => each.every((isGranted) => isGranted(context))
}

function anyAtOnce(rules: readonly Rule[]): AtOnce {
  const each = rules.map(atOnce)
  return (context) => each.some((isGranted) => isGranted(context))
}

/** The same rule each time it is asked for by the same name. */
function named(name: string, ask: (context: RuleContext) => Answer | Promise<Answer>): Rule {
  const known = namedRules.get(name)
  if (known) return known
  const made = contextRule(name, ask)
  namedRules.set(name, made)
  return made
}

function signIn(): DomainError {
  return new DomainError('UNAUTHENTICATED', 'Sign in to do this')
}

export function forbidden(need: string): DomainError {
  return new DomainError('FORBIDDEN', `This needs ${need}`)
}
