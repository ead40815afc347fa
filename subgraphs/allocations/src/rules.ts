import { allow, mayDo, type Rules } from '@berth/platform/shield'

/**
 * Who may call what. Whether an allocation is of the caller's organization, and a key the caller's
 * own, is asked in the service, always.
 */
export const rules: Rules = {
  Query: {
    allocation: mayDo('allocation:read'),
    allocations: mayDo('allocation:read'),
    sshKeys: mayDo('sshkey:manage'),
  },
  Mutation: {
    allocationCreate: mayDo('allocation:create'),
    allocationRelease: mayDo('allocation:release'),
    sshKeyAdd: mayDo('sshkey:manage'),
    sshKeyRemove: mayDo('sshkey:manage'),
    terminalSessionCreate: mayDo('terminal:open'),
  },
  Subscription: { allocationUpdated: mayDo('allocation:read') },
  // Reached by reference as well, below the root fields.
  Allocation: { '*': mayDo('allocation:read'), id: allow },
  AllocationEvent: { '*': mayDo('allocation:read'), id: allow },
  AllocationUpdate: allow,
  AllocationConnection: allow,
  AllocationEdge: allow,
  AllocationCreatePayload: allow,
  AllocationReleasePayload: allow,
  SshEndpoint: allow,
  SshKey: allow,
  SshKeyAddPayload: allow,
  SshKeyRemovePayload: allow,
  TerminalSession: allow,
  TerminalSessionCreatePayload: allow,
  GpuModel: allow,
  Region: allow,
  Slot: allow,
  User: allow,
  PageInfo: allow,
}
