import { covers } from '@berth/platform/action-pattern'
import { type ActionName, actionNames, actions, factsOf } from '@berth/schema/actions'
import type { CallerAuthority, Facts, PolicyEngine, Question, RuleSet, Verdict } from './port.ts'

/** Role → patterns of actions: the value of `authz.roles`. */
export type Roles = Readonly<Record<string, readonly string[]>>

/** What a decision rests on: the platform's rules, and those of the authority's own organization. */
export type Rules = {
  readonly roles: Roles
  readonly platform: string
  readonly organization: string
}

/** Why it was decided so. */
export type DecisionBasis =
  | 'PLATFORM_PERMIT'
  | 'ORGANIZATION_PERMIT'
  | 'PLATFORM_FORBID'
  | 'ORGANIZATION_FORBID'
  | 'CEILING'
  | 'NO_PERMIT'
  | 'ERROR'

export type Decision = { readonly isGranted: boolean; readonly basis: DecisionBasis }

export type Grants = {
  /** Granted whatever the facts are. */
  readonly granted: readonly ActionName[]
  /** Granted or not, as the facts are. */
  readonly dependent: readonly ActionName[]
}

/**
 * Whether the authority may do it. A platform `forbid` is before everything; then an organization's;
 * then what the platform permits. What an organization permits counts for what is done within it, as far
 * as the platform permits it to the organization's owner; what is done to the platform is none of its
 * business. A rule that cannot be evaluated is a no.
 *
 * Those who set rules are not kept by them from setting others: an organization's do not bind its owner
 * where its policies are read and changed, nor the platform's an operator where those of the platform
 * are.
 */
export async function decide(
  engine: PolicyEngine,
  rules: Rules,
  question: Question,
): Promise<Decision> {
  const { authority, action } = question
  // No rule makes anything public: what is, is not asked about.
  if (authority.kind === 'anonymous') return no('NO_PERMIT')
  const { platform, organization, rolesAlone } = setsOf(rules)
  const own = isKeeper(authority, action)
  if (own === 'operator') return ofVerdict(await ask(rolesAlone, authority))
  const byPlatform = await ask(platform, authority)
  if (byPlatform === 'forbid') return no('PLATFORM_FORBID')
  if (byPlatform === 'error') return no('ERROR')
  const isRuled = actions[action].scope === 'tenant' && own === null && authority.organizationId
  if (!isRuled || rules.organization.trim() === '') return ofVerdict(byPlatform)
  const byOrganization = await ask(organization, authority)
  if (byOrganization === 'forbid') return no('ORGANIZATION_FORBID')
  if (byOrganization === 'error') return no('ERROR')
  if (byPlatform === 'permit') return yes('PLATFORM_PERMIT')
  if (byOrganization === 'silent') return no('NO_PERMIT')
  const byCeiling = await ask(platform, ownerOf(authority))
  return byCeiling === 'permit' ? yes('ORGANIZATION_PERMIT') : no('CEILING')

  async function ask(set: RuleSet, of: CallerAuthority): Promise<Verdict> {
    const verdict = await engine.evaluate(set, { ...question, authority: of })
    // Which facts it fails with is not known: with others it may not.
    return verdict === 'error' && question.facts === 'best' ? 'permit' : verdict
  }
}

/** What the authority is granted of all that there is. */
export async function grantsOf(
  engine: PolicyEngine,
  rules: Rules,
  authority: CallerAuthority,
): Promise<Grants> {
  // At once: an engine may be some way off.
  const outcomes = await Promise.all(actionNames.map(outcomeOf))
  const those = (outcome: string) => actionNames.filter((_, i) => outcomes[i] === outcome)
  return { granted: those('granted'), dependent: those('dependent') }

  async function outcomeOf(action: ActionName): Promise<'granted' | 'dependent' | 'refused'> {
    const isGranted = async (facts: Question['facts']) =>
      (await decide(engine, rules, { authority, action, facts })).isGranted
    const isFactual = Object.keys(factsOf(action)).length > 0
    if (!isFactual) return (await isGranted({})) ? 'granted' : 'refused'
    if (!(await isGranted('best'))) return 'refused'
    return (await isGranted('worst')) ? 'granted' : 'dependent'
  }
}

/** @returns what is wrong with the facts, or null when they are those that the action declares */
export function factsProblem(action: ActionName, facts: Facts): string | null {
  const declared = factsOf(action)
  for (const [name, { type }] of Object.entries(declared)) {
    const value = Object.hasOwn(facts, name) ? facts[name] : undefined
    const isGood = type === 'long' ? Number.isSafeInteger(value) : typeof value === type
    if (!isGood) return `${name} is no ${type}`
  }
  const stranger = Object.keys(facts).find((name) => !Object.hasOwn(declared, name))
  return stranger === undefined ? null : `${action} has no fact ${stranger}`
}

type Sets = Readonly<Record<'platform' | 'organization' | 'rolesAlone', RuleSet>>

// The same objects for the same rules: engines remember what they made of them.
const made = new WeakMap<Rules, Sets>()

function setsOf(rules: Rules): Sets {
  const known = made.get(rules)
  if (known) return known
  const roles = expanded(rules.roles)
  const sets: Sets = {
    platform: { level: 'PLATFORM', roles, rules: rules.platform },
    organization: { level: 'ORGANIZATION', roles: {}, rules: rules.organization },
    rolesAlone: { level: 'PLATFORM', roles, rules: '' },
  }
  made.set(rules, sets)
  return sets
}

/** Patterns as the actions that they cover; a pattern that covers none is of a time to come, or past. */
function expanded(roles: Roles): RuleSet['roles'] {
  return Object.fromEntries(
    Object.entries(roles).map(([role, patterns]) => [
      role,
      actionNames.filter((name) => patterns.some((it) => covers(it, name))),
    ]),
  )
}

/** Whether it is by this that rules which keep everybody out are taken back. */
function isKeeper(
  { kind, roles }: CallerAuthority,
  action: ActionName,
): 'operator' | 'owner' | null {
  if (kind !== 'person') return null
  if (action === 'platform:policies') return 'operator'
  const isPolicy = action === 'policy:read' || action === 'policy:manage'
  return isPolicy && roles.includes('owner') ? 'owner' : null
}

function ownerOf({ organizationId }: CallerAuthority): CallerAuthority {
  return { kind: 'person', organizationId, roles: ['owner'] }
}

function ofVerdict(verdict: Verdict): Decision {
  if (verdict === 'permit') return yes('PLATFORM_PERMIT')
  if (verdict === 'error') return no('ERROR')
  return no(verdict === 'forbid' ? 'PLATFORM_FORBID' : 'NO_PERMIT')
}

function yes(basis: DecisionBasis): Decision {
  return { isGranted: true, basis }
}

function no(basis: DecisionBasis): Decision {
  return { isGranted: false, basis }
}
