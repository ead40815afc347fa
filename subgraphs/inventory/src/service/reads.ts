import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { Database } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import { listNodes, type NodeRow, readNode } from '../store/nodes.ts'
import { type GpuModelRow, listGpuModels, listOffers, type OfferRow } from '../store/offers.ts'

export type PageInput = {
  first?: number | null | undefined
  after?: string | null | undefined
}

export type OffersInput = PageInput & {
  gpuModel?: string | null | undefined
  region?: string | null | undefined
}

export type NodeEndpoint = {
  nodeId: string
  name: string
  host: string
  port: number
  username: string
  hostKeyFingerprint: string
}

export type Reads = {
  offers(input: OffersInput): Promise<Connection<OfferRow>>
  gpuModels(): Promise<GpuModelRow[]>
  nodes(input: PageInput): Promise<Connection<NodeRow>>
  /** @throws {DomainError} NOT_FOUND; CONFLICT before its host key is pinned */
  endpoint(nodeId: string): Promise<NodeEndpoint>
}

export function createReads({ database: { sql } }: { database: Pick<Database, 'sql'> }): Reads {
  return {
    async offers({ gpuModel = null, region = null, ...input }) {
      if (gpuModel?.includes('\0') || region?.includes('\0')) {
        throw new DomainError('BAD_INPUT', 'A code holds no control characters')
      }
      const page = pageArguments(input)
      const rows = await listOffers(sql, { gpuModel, region }, page)
      const cursorOf = ({ regionCode, gpuModelCode }: OfferRow) => `${regionCode}/${gpuModelCode}`
      return connection({ ...page, rows, cursorOf })
    },
    gpuModels: () => listGpuModels(sql),
    async nodes(input) {
      const page = pageArguments(input)
      const after = page.after === null ? null : idToUuid(parseId('nod', page.after))
      const rows = await listNodes(sql, { take: page.take, after })
      return connection({ ...page, rows, cursorOf: ({ id }) => uuidToId('nod', id) })
    },
    async endpoint(nodeId) {
      const node = await readNode(sql, nodeId)
      if (!node) throw new DomainError('NOT_FOUND', 'There is no such node')
      const { id, name, host, port, username, hostKeyFingerprint } = node
      if (hostKeyFingerprint === null) {
        throw new DomainError('CONFLICT', 'This node has not been probed yet')
      }
      return { nodeId: id, name, host, port, username, hostKeyFingerprint }
    },
  }
}
