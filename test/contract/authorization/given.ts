import type { Given, Place } from '@berth/platform/test-kit/operations'
import { isListType, isNonNullType } from 'graphql'
import { idArguments, unknownId } from './graph.ts'

/**
 * What cannot be made from its type: so that an operation gets as far as its service's own
 * questions, and changes nothing that the others need.
 */
const values: Readonly<Record<string, string>> = {
  'Query.policy.key': '"ratelimit.query"',
  'Query.policyRulesDryRun.input.rules': '""',
  'Mutation.apiKeyCreate.input.scopes': '["inbox:read"]',
  'Mutation.invitationCreate.input.role': 'MEMBER',
  // Refused by the service: whoever belonged to no organization would be an owner from then on.
  'Mutation.organizationCreate.input.name': '""',
  'Mutation.policyReset.input.key': '"ratelimit.query"',
  'Mutation.policyRollback.input.key': '"ratelimit.query"',
  'Mutation.policySet.input.key': '"ratelimit.query"',
  'Mutation.policySet.input.value': '{ perMinute: 1, burst: 1 }',
  // Refused as it is opened, and after it was asked whether it may be.
  'Subscription.allocationUpdated.after': '"none of its cursors"',
  'Subscription.inbox.after': '"none of its cursors"',
  // So that nothing of the rest is done.
  ...Object.fromEntries(
    ['policySet', 'policyReset', 'policyRollback'].map((it) => [
      `Mutation.${it}.input.expectedVersion`,
      '9',
    ]),
  ),
}

/** @param level of a policy, where it is asked for at one */
export function givenAt(level?: string): Given {
  return (place) => {
    const { path } = place
    if (isLevel(place)) return level
    if (level && path.endsWith('.organizationId')) return level === 'GRANT' ? id(path) : undefined
    if (level && path.endsWith('.userId')) return level === 'USER' ? id(path) : undefined
    if (values[path] !== undefined) return values[path]
    if (!(path in idArguments) || !isNonNullType(place.type)) return undefined
    return isListType(place.type.ofType) ? `[${id(path)}]` : id(path)
  }

  function id(path: string): string {
    const [type] = idArguments[path] ?? ['User']
    return JSON.stringify(unknownId(type))
  }
}

export function isLevel({ type }: Place): boolean {
  return String(type) === 'PolicyLevel!'
}
