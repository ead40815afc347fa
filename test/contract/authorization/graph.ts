import { readFileSync } from 'node:fs'
import { newId } from '@berth/platform/ids'
import { schemaOf } from '@berth/platform/subgraph'
import { fieldsOf, type Place, placesOf } from '@berth/platform/test-kit/operations'
import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
} from 'graphql'

export type Subgraph = { readonly name: string; readonly schema: GraphQLSchema }

/** As their SDL has them: whatever is added there is found here. */
export const subgraphs: readonly Subgraph[] = [
  'allocations',
  'billing',
  'inventory',
  'notifications',
  'policy',
].map((name) => {
  const file = new URL(import.meta.resolve(`@berth/schema/${name}.graphql`))
  return { name, schema: schemaOf(readFileSync(file, 'utf8'), {}) }
})

export type RootField = {
  readonly subgraph: string
  readonly operation: 'query' | 'mutation' | 'subscription'
  readonly on: GraphQLObjectType
  readonly field: GraphQLField<unknown, unknown>
}

export const rootFields: readonly RootField[] = subgraphs.flatMap(({ name: subgraph, schema }) =>
  (
    [
      ['query', schema.getQueryType()],
      ['mutation', schema.getMutationType()],
      ['subscription', schema.getSubscriptionType()],
    ] as const
  ).flatMap(([operation, on]) =>
    on ? fieldsOf(on).map((field) => ({ subgraph, operation, on, field })) : [],
  ),
)

/** The types that have ids, by the prefix that they begin with; null for public codes and names. */
export const prefixes: Readonly<Record<string, string | null>> = {
  Allocation: 'alc',
  AllocationEvent: 'evt',
  ApiKey: 'key',
  AuditEvent: 'aud',
  GpuModel: null,
  Invitation: 'inv',
  LedgerEntry: 'len',
  Membership: 'mem',
  Node: 'nod',
  Notification: 'ntf',
  Offer: null,
  Organization: 'org',
  OrganizationStanding: 'org',
  PersonStanding: 'usr',
  PolicyDecision: 'dec',
  Probe: 'prb',
  Region: null,
  Session: 'ses',
  Slot: 'slt',
  SshKey: 'ssk',
  TerminalSession: 'tms',
  UsageRecord: 'usg',
  User: 'usr',
}

/** Of what each argument that is an id is one. */
export const idArguments: Readonly<Record<string, readonly [string, ...string[]]>> = {
  'Query.allocation.id': ['Allocation'],
  'Query.auditEvents.filter.actor': ['User', 'ApiKey', 'Session'],
  'Query.auditEvents.filter.target': ['Allocation', 'ApiKey', 'Invitation', 'Membership', 'User'],
  'Query.node.id': ['Node'],
  'Query.platformAuditEvents.filter.actor': ['User', 'ApiKey', 'Session'],
  'Query.platformAuditEvents.filter.target': ['Allocation', 'Organization'],
  'Query.platformAuditEvents.organizationId': ['Organization'],
  'Query.platformPolicyDecisions.organizationId': ['Organization'],
  'Query.policies.organizationId': ['Organization'],
  'Query.policies.userId': ['User'],
  'Query.policy.organizationId': ['Organization'],
  'Query.policy.userId': ['User'],
  'Query.usageRecords.allocationId': ['Allocation'],
  'Mutation.allocationCreate.input.sshKeyIds': ['SshKey'],
  'Mutation.allocationRelease.input.id': ['Allocation'],
  'Mutation.apiKeyRevoke.input.id': ['ApiKey'],
  'Mutation.apiKeyRotate.input.id': ['ApiKey'],
  'Mutation.inboxMark.input.ids': ['Notification'],
  'Mutation.invitationRevoke.input.id': ['Invitation'],
  'Mutation.membershipRemove.input.id': ['Membership'],
  'Mutation.membershipSetRole.input.id': ['Membership'],
  'Mutation.nodeCordon.input.id': ['Node'],
  'Mutation.nodeProbe.input.id': ['Node'],
  'Mutation.nodeUncordon.input.id': ['Node'],
  'Mutation.organizationReinstate.input.id': ['Organization'],
  'Mutation.organizationSuspend.input.id': ['Organization'],
  'Mutation.personReinstate.input.id': ['User'],
  'Mutation.personSuspend.input.id': ['User'],
  'Mutation.policyReset.input.organizationId': ['Organization'],
  'Mutation.policyReset.input.userId': ['User'],
  'Mutation.policyRollback.input.organizationId': ['Organization'],
  'Mutation.policyRollback.input.userId': ['User'],
  'Mutation.policySet.input.organizationId': ['Organization'],
  'Mutation.policySet.input.userId': ['User'],
  'Mutation.sessionRevoke.input.id': ['Session'],
  'Mutation.slotRestore.input.id': ['Slot'],
  'Mutation.sshKeyRemove.input.id': ['SshKey'],
  'Mutation.terminalSessionCreate.input.allocationId': ['Allocation'],
  'Subscription.allocationUpdated.allocationId': ['Allocation'],
}

export function idPlacesOf({ on, field }: RootField): Place[] {
  return placesOf(on, field).filter(({ type }) => getNamedType(type).name === 'ID')
}

/** Well-formed, and of nothing. */
export function unknownId(type: string): string {
  const prefix = prefixes[type]
  if (!prefix) throw new RangeError(`${type} has no ids of its own`)
  return newId(prefix)
}
