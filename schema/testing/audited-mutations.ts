/** Why nothing is audited. */
export type Exempt = { readonly exempt: string }

/**
 * What each mutation of the graph writes into the audit when it changes something: the actions, of
 * which each is one row at least. Each subgraph's tests run all of its own.
 */
export const auditedMutations = {
  allocations: {
    allocationCreate: ['allocation.create'],
    allocationRelease: ['allocation.release'],
    sshKeyAdd: ['sshKey.add'],
    sshKeyRemove: ['sshKey.remove'],
    terminalSessionCreate: ['terminal.create'],
  },
  billing: {},
  inventory: {
    nodeCordon: ['node.cordon'],
    nodeEnroll: ['node.enroll'],
    nodeProbe: ['node.probe'],
    nodeUncordon: ['node.uncordon'],
    slotRestore: ['slot.restore'],
  },
  notifications: {
    inboxMark: { exempt: 'A person reads their own inbox: nobody else’s state changes.' },
  },
  policy: {
    apiKeyCreate: ['apiKey.create'],
    apiKeyRevoke: ['apiKey.revoke'],
    apiKeyRotate: ['apiKey.rotate'],
    invitationAccept: ['invitation.accept', 'membership.add'],
    invitationCreate: ['invitation.create'],
    invitationRevoke: ['invitation.revoke'],
    membershipRemove: ['membership.remove'],
    membershipSetRole: ['membership.setRole'],
    organizationCreate: ['organization.create', 'membership.add'],
    organizationReinstate: ['organization.reinstate'],
    organizationSuspend: ['organization.suspend'],
    personReinstate: ['person.reinstate'],
    personSuspend: ['person.suspend'],
    policyReset: ['policy.reset'],
    policyRollback: ['policy.rollback'],
    policySet: ['policy.set'],
    sessionRevoke: ['session.end'],
    signingKeyAllow: ['signingKey.allow'],
    signingKeyDeny: ['signingKey.deny'],
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, readonly string[] | Exempt>>>>
