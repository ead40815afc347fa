import { composeServices } from '@apollo/composition'
import { parse } from 'graphql'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])\n`

/** The event's owner. */
const EVENTS = `${LINK}
  type Query { events: Int }
  type Subscription { changed: Change! }
  type Change { number: Int! note: String! allocation: Allocation! }
  type Allocation @key(fields: "id") { id: ID! }
`

/** What every event is hydrated from. */
const DETAILS = `${LINK}
  type Query { details: Int }
  type Allocation @key(fields: "id") { id: ID! name: String! state: State! gpus: Int! node: Node! }
  type Node { name: String! region: String! }
  enum State { STARTING RUNNING STOPPED }
`

export const SUBSCRIPTION =
  'subscription Changes { changed { number note allocation { id name state gpus node { name region } } } }'

/** The header that tells the gateway's clients into classes of authority. */
export const CLASS_HEADER = 'berth-class'

/** The supergraph file; over WebSockets the owner is at its own address with `ws:`. */
export function composeSupergraph(events: string, details: string): string {
  const { supergraphSdl, errors } = composeServices([
    { name: 'events', url: events, typeDefs: parse(EVENTS) },
    { name: 'details', url: details, typeDefs: parse(DETAILS) },
  ])
  if (!supergraphSdl) throw new Error(`the subgraphs do not compose: ${errors?.join('\n')}`)
  return supergraphSdl
}

/** What the owner knows of an event. @param note fills it to the size wanted */
export const changeOf = (number: number, note: string) => ({
  number,
  note,
  allocation: { id: `a${number}` },
})

/** What the second subgraph knows of its allocation. */
export const detailsOf = (id: string) => ({
  name: `Training run ${id}`,
  state: 'RUNNING',
  gpus: 8,
  node: { name: `gpu-${id}.north`, region: 'north-1' },
})

/** The whole message that a subscriber gets: the same bytes from the gateway and from the bare server. */
export function messageOf(number: number, note: string): string {
  const { allocation, ...change } = changeOf(number, note)
  const changed = { ...change, allocation: { ...allocation, ...detailsOf(allocation.id) } }
  return `{"id":"1","type":"next","payload":${JSON.stringify({ data: { changed } })}}`
}
