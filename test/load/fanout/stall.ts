import { type Crowd, openCrowd } from './crowd.ts'
import { settle } from './deliveries.ts'
import type { Server } from './servers.ts'

/** What clients that do not read cost the gateway. */
export type Stall = {
  readonly stalled: number
  /** Of them, cut off by the gateway. */
  readonly ended: number
  /** Of those, whom it could tell why (4413): who does not read at all may learn of it no more. */
  readonly told: number
  /** What was to go to each meanwhile, in MiB. */
  readonly sentMib: number
  /** The most that the gateway's memory grew by, for each of them. */
  readonly kibPerStalled: number
}

const STALLED = 50
const READING = 20
/** Large, so that what the system's own buffers take is soon full. */
const NOTE = 'x'.repeat(16 * 1024)
const WARM_EVENTS = 200
const MOST_EVENTS = 2_000
const EVENTS_A_STEP = 20

/**
 * Subscribers that stop reading, beside some that go on: these must get everything, and those be cut
 * off, before the gateway's memory is theirs.
 */
export async function measureStall(server: Server): Promise<Stall> {
  const [reading, stalled] = [await openCrowd(server, READING), await openCrowd(server, STALLED)]
  await settle(server, stalled)
  await settle(server, reading) // Last: nothing is on its way to them after it.
  await send(server, reading, WARM_EVENTS)
  const before = server.running.residentMib()
  for (const reader of stalled.readers) reader.stall()
  let most = before
  let sent = 0
  while (sent < MOST_EVENTS) {
    await send(server, reading, EVENTS_A_STEP)
    sent += EVENTS_A_STEP
    most = Math.max(most, server.running.residentMib())
  }
  for (const reader of stalled.readers) reader.resume()
  const { ended, told } = await outcomeOf(stalled)
  for (const crowd of [reading, stalled]) crowd.close()
  const kibPerStalled = ((most - before) * 1024) / STALLED
  return { stalled: STALLED, ended, told, sentMib: (sent * NOTE.length) / 2 ** 20, kibPerStalled }
}

/** One event after another, each when all who read have the one before. */
async function send(server: Server, reading: Crowd, events: number): Promise<void> {
  const finished = Promise.withResolvers<void>()
  let sent = 0
  reading.begin(NOTE, {
    complete: () => (sent < events ? server.emit(sent++, NOTE) : finished.resolve()),
  })
  server.emit(sent++, NOTE)
  await finished.promise
  if (reading.wrong > 0)
    throw new Error(`wrong messages beside stalled clients: ${reading.firstWrong}`)
}

async function outcomeOf({ readers }: Crowd): Promise<{ ended: number; told: number }> {
  const until = performance.now() + 5_000
  while (performance.now() < until && readers.some((it) => it.isOpen)) {
    await new Promise((later) => setTimeout(later, 50))
  }
  return {
    ended: readers.filter((it) => !it.isOpen).length,
    told: readers.filter((it) => it.closeCode === 4413).length,
  }
}
