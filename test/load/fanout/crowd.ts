import { CLASS_HEADER, messageOf, SUBSCRIPTION } from './graph.ts'
import { openReader, type Reader } from './reader.ts'
import type { Server } from './servers.ts'

/** Subscribers of one server. */
export type Crowd = {
  readonly readers: readonly Reader[]
  /** Forgets what came, so that the next event counts as the first for everyone. */
  begin(note: string, listener: Listener): void
  /** Messages that were not the ones expected, since `begin`. */
  readonly wrong: number
  readonly firstWrong: string | undefined
  close(): void
}

export type Listener = {
  /** One subscriber has got the event with this number. */
  delivered?(number: number): void
  /** All that are left have. */
  complete(number: number): void
}

/**
 * Subscribes so many, in as many classes, and returns once everyone is acknowledged.
 *
 * @param server speaks `graphql-transport-ws`, or just sends
 */
export async function openCrowd(server: Server, size: number, classes = 1): Promise<Crowd> {
  const readers: Reader[] = []
  const counts = new Map<Reader, number>()
  const arrived: number[] = []
  let listener: Listener | undefined
  let note = ''
  let wrong = 0
  let firstWrong: string | undefined
  let expected: { number: number; bytes: Buffer }[] = []
  while (readers.length < size) {
    const some = Math.min(50, size - readers.length)
    const from = readers.length
    readers.push(...(await Promise.all(Array.from({ length: some }, (_, it) => open(from + it)))))
  }
  return {
    readers,
    begin(nextNote, nextListener) {
      counts.clear()
      arrived.length = 0
      wrong = 0
      note = nextNote
      expected = []
      listener = nextListener
    },
    get wrong() {
      return wrong
    },
    get firstWrong() {
      return firstWrong
    },
    close() {
      for (const reader of readers) reader.close()
    },
  }

  async function open(index: number): Promise<Reader> {
    const acknowledged = Promise.withResolvers<void>()
    const headers = {
      authorization: server.authorizationOf(index),
      [CLASS_HEADER]: String(index % classes),
      ...(server.isGraph && { 'sec-websocket-protocol': 'graphql-transport-ws' }),
    }
    const reader = await openReader(server.url, headers, addressOf(index), (payload, it) => {
      if (payload[7] === CODE_OF_ONE) return deliver(payload, it)
      const text = payload.toString()
      if (text.includes('"connection_ack"')) return acknowledged.resolve()
      if (text.includes('"ping"')) return it.send('{"type":"pong"}')
      if (text.includes('"pong"')) return
      wrong++
      firstWrong ??= text.slice(0, 500)
    })
    if (!server.isGraph) return reader
    reader.send('{"type":"connection_init"}')
    await acknowledged.promise
    reader.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: SUBSCRIPTION } }))
    return reader
  }

  function deliver(payload: Buffer, reader: Reader): void {
    if (!listener) return
    const number = counts.get(reader) ?? 0
    counts.set(reader, number + 1)
    if (!isExpected(number, payload)) {
      wrong++
      firstWrong ??= `as event ${number}: ${payload.toString().slice(0, 500)}`
    }
    listener.delivered?.(number)
    const count = (arrived[number] ?? 0) + 1
    arrived[number] = count
    if (count === readers.length) listener.complete(number)
  }

  /** Every message is compared, as bytes; those of the last few events are kept. */
  function isExpected(number: number, payload: Buffer): boolean {
    let of = expected[number % KEPT]
    if (of?.number !== number) {
      of = { number, bytes: Buffer.from(messageOf(number, note)) }
      expected[number % KEPT] = of
    }
    return payload.equals(of.bytes)
  }
}

const KEPT = 64
const PER_ADDRESS = 800

/** Linux has all of 127/8 on its loopback; elsewhere a gateway's limit by address must be higher. */
function addressOf(index: number): string {
  return process.platform === 'linux'
    ? `127.0.0.${1 + Math.floor(index / PER_ADDRESS)}`
    : '127.0.0.1'
}
/** Of `{"id":"1",…}`: messages of the subscription, told from the protocol's own by one byte. */
const CODE_OF_ONE = '1'.charCodeAt(0)
