import { covers } from './action-pattern.ts'

/** How long what is known of some actions is relied on, once policy cannot be asked any more. */
export type PolicyClass = {
  readonly name: string
  /** Patterns; an action is of the first class that covers it. */
  readonly actions: readonly string[]
  /** After it was last known to hold. Then it is UNAVAILABLE, which is no grant and no refusal. */
  readonly staleSeconds: number
}

/** Explained in `doc/policy-client.md`. */
export const policyClasses: readonly PolicyClass[] = [
  { name: 'money', actions: ['billing:*'], staleSeconds: 5 },
  {
    name: 'credentials',
    actions: ['organization:keys', 'organization:invite', 'sshkey:*'],
    staleSeconds: 5,
  },
  { name: 'terminals', actions: ['terminal:*'], staleSeconds: 5 },
  { name: 'policies and the platform', actions: ['policy:*', 'platform:*'], staleSeconds: 5 },
  { name: 'all else', actions: ['*'], staleSeconds: 300 },
]

/** Of values, such as rates and quotas: they limit, and grant nothing. */
export const VALUE_STALE_SECONDS = 300

export function staleSecondsOf(action: string): number {
  const found = policyClasses.find(({ actions }) => actions.some((it) => covers(it, action)))
  return found?.staleSeconds ?? 0
}
