import type { QueryResolvers } from '../generated/resolvers.ts'
import { pageAllocations, readAllocation } from '../service/read.ts'
import { listSshKeys } from '../service/ssh-keys.ts'

export const Query: QueryResolvers = {
  allocation: (_root, { id }, { ports, actor }) => readAllocation(ports, actor, id),
  allocations: (_root, args, { ports, actor }) => pageAllocations(ports, actor, args),
  sshKeys: (_root, _args, { ports, actor }) => listSshKeys(ports, actor),
}
