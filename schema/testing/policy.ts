import { covers } from '@berth/platform/action-pattern'
import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import type { z } from 'zod'
import { actionNames } from '../actions.ts'
import {
  appendAuditTrail,
  decideAction,
  readGrants,
  readPolicies,
  readRevocations,
} from '../commands/policy.ts'

type Json = z.output<ReturnType<typeof z.json>>
type Facts = Readonly<Record<string, string | number | boolean>>

/**
 * What policy answers to a service under test: these roles grant these actions, and no change is told.
 *
 * @param roles patterns of actions by role, asked for each time, as are the values of policies
 * @param conditions by action, of those that depend on facts
 */
export function policyHandlers(
  roles: () => Readonly<Record<string, readonly string[]>>,
  values: () => Readonly<Record<string, Json>> = () => ({}),
  conditions: () => Readonly<Record<string, (facts: Facts) => boolean>> = () => ({}),
): CommandHandler[] {
  const grantedTo = (held: readonly string[]) =>
    actionNames.filter((action) =>
      held.some((role) => roles()[role]?.some((pattern) => covers(pattern, action))),
    )
  return [
    handleCommand(readPolicies, async ({ keys }) => ({
      values: Object.entries(values())
        .filter(([key]) => keys.includes(key))
        .map(([key, value]) => ({ key, version: 1, value })),
    })),
    handleCommand(readGrants, async (of) => {
      const all = grantedTo(of.roles)
      const dependent = all.filter((it) => conditions()[it])
      return { granted: all.filter((it) => !dependent.includes(it)), dependent }
    }),
    handleCommand(decideAction, async ({ roles: held, action, facts: listed }) => {
      const facts = Object.fromEntries(listed.map(({ name, value }) => [name, value]))
      const isMet = conditions()[action]?.(facts) ?? true
      return { isGranted: isMet && grantedTo(held).some((it) => it === action) }
    }),
    handleCommand(appendAuditTrail, async ({ events }) => ({ appended: events.length })),
    handleCommand(readRevocations, async ({ after }) => ({
      version: after ?? 0,
      concerns: [],
      isComplete: true,
    })),
  ]
}
