import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { GraphClient } from '../graph-client.ts'

/** What the main job's steps read of an allocation. */
export type AllocationView = {
  id: string
  state: string
  reason: string | null
  allowedActions: string[]
  gpuModel: { code: string; name: string }
  slots: { id: string; gpuUuid: string; state: string }[]
  ssh: { host: string; port: number; username: string; hostKeyFingerprint: string } | null
  cost: { amount: string; currency: string }
}

export type OfferView = {
  gpuModel: { code: string; pricePerHour: { amount: string; currency: string } | null }
  region: { code: string }
  available: number
}

const ALLOCATION = `id state reason allowedActions gpuModel { code name }
  slots { id gpuUuid state } ssh { host port username hostKeyFingerprint } cost { amount currency }`

export const offers = (graph: GraphClient): Promise<OfferView[]> =>
  graph
    .get<{ offers: { nodes: OfferView[] } }>(
      `query Offers { offers { nodes {
        gpuModel { code pricePerHour { amount currency } } region { code } available
      } } }`,
    )
    .then((it) => it.offers.nodes)

export const addSshKey = (graph: GraphClient, publicKey: string): Promise<string> =>
  graph
    .get<{ sshKeyAdd: { sshKey: { id: string } } }>(
      `mutation AddKey($input: SshKeyAddInput!) { sshKeyAdd(input: $input) { sshKey { id } } }`,
      { input: { name: `key ${randomUUID().slice(0, 8)}`, publicKey } },
    )
    .then((it) => it.sshKeyAdd.sshKey.id)

export const CREATE = `mutation Create($input: AllocationCreateInput!) {
  allocationCreate(input: $input) { allocation { ${ALLOCATION} } }
}`

export const createAllocation = (
  graph: GraphClient,
  input: Record<string, unknown>,
  key = `"${randomUUID()}"`,
): Promise<AllocationView> =>
  graph
    .get<{ allocationCreate: { allocation: AllocationView } }>(CREATE, { input }, key)
    .then((it) => it.allocationCreate.allocation)

export const readAllocation = (graph: GraphClient, id: string): Promise<AllocationView> =>
  graph
    .get<{ allocation: AllocationView }>(
      `query Read($id: ID!) { allocation(id: $id) { ${ALLOCATION} } }`,
      { id },
    )
    .then((it) => it.allocation)

export const releaseAllocation = (graph: GraphClient, id: string): Promise<AllocationView> =>
  graph
    .get<{ allocationRelease: { allocation: AllocationView } }>(
      `mutation Release($input: AllocationReleaseInput!) {
        allocationRelease(input: $input) { allocation { ${ALLOCATION} } }
      }`,
      { input: { id } },
    )
    .then((it) => it.allocationRelease.allocation)

export const openTerminal = (
  graph: GraphClient,
  allocationId: string,
): Promise<{ token: string; terminalSession: { id: string; url: string } }> =>
  graph
    .get<{
      terminalSessionCreate: { token: string; terminalSession: { id: string; url: string } }
    }>(
      `mutation Terminal($input: TerminalSessionCreateInput!) {
        terminalSessionCreate(input: $input) { token terminalSession { id url } }
      }`,
      { input: { allocationId } },
    )
    .then((it) => it.terminalSessionCreate)

/** Where both streams stand now, to follow them from. */
export const streamCursors = (
  graph: GraphClient,
): Promise<{ allocations: { streamCursor: string }; inbox: { streamCursor: string } }> =>
  graph.get(
    'query Positions { allocations(first: 1) { streamCursor } inbox(first: 1) { streamCursor } }',
  )

export type AllocationUpdate = {
  cursor: string
  event: { id: string; sequence: number; state: string }
  allocation: { id: string; state: string; gpuModel: { name: string } }
}

/** Changes of allocations, each with the GPU model's name, which inventory answers. */
export const followAllocations = (graph: GraphClient, after: string): Collected<AllocationUpdate> =>
  collect(after, (cursor) =>
    graph.subscribe<{ stream: AllocationUpdate }>(
      `subscription Updates($after: String) {
        stream: allocationUpdated(after: $after) {
          cursor
          event { id sequence state }
          allocation { id state gpuModel { name } }
        }
      }`,
      { after: cursor },
    ),
  )

export type InboxEvent = {
  cursor: string
  notification: {
    id: string
    sequence: number
    kind: string
    allocation: { id: string; state: string } | null
  }
}

/** A person's notifications, each with the allocation's state, which allocations answers. */
export const followInbox = (graph: GraphClient, after: string): Collected<InboxEvent> =>
  collect(after, (cursor) =>
    graph.subscribe<{ stream: InboxEvent }>(
      `subscription Inbox($after: String) {
        stream: inbox(after: $after) {
          cursor
          notification { id sequence kind allocation { id state } }
        }
      }`,
      { after: cursor },
    ),
  )

/** What a durable stream brought so far. */
export type Collected<T> = {
  readonly items: T[]
  /** Why the stream had to be opened anew, each time. */
  readonly interruptions: unknown[]
  close(): Promise<void>
}

const REOPEN_MS = 200

/** As a good client does: opens the stream again from the last cursor when it ends or fails. */
function collect<T extends { cursor: string }>(
  start: string,
  open: (after: string) => AsyncIterableIterator<{ stream: T }>,
): Collected<T> {
  const items: T[] = []
  const interruptions: unknown[] = []
  let isClosed = false
  let events = open(start)
  const done = (async () => {
    while (!isClosed) {
      try {
        for await (const { stream } of events) items.push(stream)
        if (!isClosed) interruptions.push('completed')
      } catch (error) {
        interruptions.push(error)
      }
      await delay(REOPEN_MS)
      if (!isClosed) events = open(items.at(-1)?.cursor ?? start)
    }
  })()
  return {
    items,
    interruptions,
    async close() {
      isClosed = true
      await events.return?.()
      await done
    },
  }
}
