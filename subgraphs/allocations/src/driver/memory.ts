import type { Id } from '@berth/platform/ids'
import type { Driver, Login, Placement } from './port.ts'

export type MemoryNodes = Driver & {
  /** What stands on each node, by allocation. */
  readonly accounts: Map<Id<'nod'>, Map<Id<'alc'>, Pick<Placement, 'gpuIndexes' | 'publicKeys'>>>
  /** How often each call was made. */
  readonly calls: Record<'create' | 'verify' | 'clean' | 'list', number>
  /** Set to make calls fail before they do anything. */
  failure: ((call: 'create' | 'verify' | 'clean' | 'list') => Error | null) | null
}

/** Nodes in memory, for tests of what drives them. */
export function createMemoryNodes(): MemoryNodes {
  const nodes: MemoryNodes = {
    accounts: new Map(),
    calls: { create: 0, verify: 0, clean: 0, list: 0 },
    failure: null,

    async create({ allocationId, nodeId, gpuIndexes, publicKeys }) {
      await called('create')
      accountsOf(nodeId).set(allocationId, { gpuIndexes, publicKeys })
      return loginOf(nodeId)
    },
    async verify({ allocationId, nodeId, publicKeys }) {
      await called('verify')
      const account = accountsOf(nodeId).get(allocationId)
      return account !== undefined && account.publicKeys.length === publicKeys.length
    },
    async clean({ allocationId, nodeId }) {
      await called('clean')
      accountsOf(nodeId).delete(allocationId)
      return true
    },
    async list(nodeId) {
      await called('list')
      return [...accountsOf(nodeId).keys()]
    },
  }
  return nodes

  async function called(call: 'create' | 'verify' | 'clean' | 'list'): Promise<void> {
    nodes.calls[call] += 1
    const error = nodes.failure?.(call)
    if (error) throw error
  }

  function accountsOf(nodeId: Id<'nod'>) {
    const accounts = nodes.accounts.get(nodeId) ?? new Map()
    nodes.accounts.set(nodeId, accounts)
    return accounts
  }
}

function loginOf(nodeId: Id<'nod'>): Login {
  return {
    nodeName: `node-${nodeId.slice(-6)}`,
    host: '192.0.2.10',
    port: 22,
    username: 'berth',
    hostKeyFingerprint: 'SHA256:0000000000000000000000000000000000000000000',
  }
}
