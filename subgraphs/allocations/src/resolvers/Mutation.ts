import type { MutationResolvers } from '../generated/resolvers.ts'
import { createAllocation } from '../service/create.ts'
import { releaseAllocation } from '../service/release.ts'
import { addSshKey, removeSshKey } from '../service/ssh-keys.ts'
import { createTerminalSession } from '../service/terminals.ts'

export const Mutation: MutationResolvers = {
  allocationCreate: async (_root, { input }, context) => ({
    allocation: await createAllocation(context.ports, context, input),
  }),
  allocationRelease: async (_root, { input }, context) => ({
    allocation: await releaseAllocation(context.ports, context, input),
  }),
  sshKeyAdd: async (_root, { input }, context) => ({
    sshKey: await addSshKey(context.ports, context, input),
  }),
  sshKeyRemove: async (_root, { input }, context) => ({
    sshKeyId: await removeSshKey(context.ports, context, input),
  }),
  terminalSessionCreate: (_root, { input }, context) =>
    createTerminalSession(context.ports, context, input),
}
