import { setTimeout as delay } from 'node:timers/promises'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { expect, vi } from 'vitest'
import { type GraphClient, OperationFailed } from '../graph-client.ts'
import { openTerminal, TerminalClosed } from '../terminal-client.ts'
import * as story from './story.ts'
import { runOverSsh } from './user-ssh.ts'

const MODEL = 'a100-sxm4-80gb'
const WITHIN = { timeout: 60_000, interval: 100 }

/** Everything the main job left to look at. */
export type Outcome = {
  allocationId: string
  updates: story.AllocationUpdate[]
  inbox: story.InboxEvent[]
  terminalOutput: string
  sshOutput: string
}

/**
 * The product's main job, as a client lives it, through the gateway alone.
 *
 * @param between called at each step, for tests that harm the platform there
 * @throws when a step does not come true
 */
export async function mainJob(
  graph: GraphClient,
  between: (step: string) => Promise<void> = async () => {},
): Promise<Outcome> {
  await persist(async () => expect(await available(graph)).toBe(2))
  const from = await persist(() => story.streamCursors(graph))
  const updates = story.followAllocations(graph, from.allocations.streamCursor)
  const inbox = story.followInbox(graph, from.inbox.streamCursor)
  const keys = newSshKeyPair()
  const sshKeyId = await persist(() => story.addSshKey(graph, keys.publicKey))
  await between('signed in')

  const key = `"${crypto.randomUUID()}"`
  const input = { name: 'main job', gpuModel: MODEL, gpuCount: 2, sshKeyIds: [sshKeyId] }
  const { id } = await persist(() => story.createAllocation(graph, input, key))
  await between('created')
  const running = await reached(graph, id, 'RUNNING')
  expect(running.gpuModel.name).toContain('A100')
  expect(new Set(running.slots.map((it) => it.gpuUuid)).size).toBe(2)
  await persist(async () => expect(await available(graph)).toBe(0))
  await between('running')

  const sshOutput = await persist(() =>
    runOverSsh(running.ssh, keys.privateKey, 'nvidia-smi -L; echo in $(basename "$HOME")'),
  )
  const terminalOutput = await persist(() => echoInTerminal(graph, id))
  await between('used')

  await persist(async () => expect(await charged(graph, id)).toBeGreaterThan(0))
  await between('billed')

  await persist(() => story.releaseAllocation(graph, id))
  await between('releasing')
  await reached(graph, id, 'RELEASED')
  await persist(async () => expect(await available(graph)).toBe(2))
  await vi.waitFor(() => {
    expect(ofAllocation(updates.items, id).at(-1)?.event.state).toBe('RELEASED')
    expect(inboxOf(inbox.items, id).at(-1)?.notification.kind).toBe('ALLOCATION_RELEASED')
  }, WITHIN)
  await updates.close()
  await inbox.close()
  return {
    allocationId: id,
    updates: ofAllocation(updates.items, id),
    inbox: inboxOf(inbox.items, id),
    terminalOutput,
    sshOutput,
  }
}

/** The states an allocation goes through, in order, each told once. */
export const HAPPY_PATH = [
  'REQUESTED',
  'RESERVED',
  'PROVISIONING',
  'STARTING',
  'RUNNING',
  'RELEASING',
  'RELEASED',
]

/** What must be true of a main job's outcome, whatever was killed meanwhile. */
export function expectWhole({ updates, inbox, sshOutput, terminalOutput }: Outcome): void {
  expect(updates.map((it) => it.event.state)).toEqual(HAPPY_PATH)
  expect(updates.map((it) => it.event.sequence)).toEqual([1, 2, 3, 4, 5, 6, 7])
  // Hydrated from inventory, on every event.
  for (const it of updates) expect(it.allocation.gpuModel.name).toContain('A100')
  expect(inbox.map((it) => it.notification.kind)).toEqual([
    'ALLOCATION_RUNNING',
    'ALLOCATION_RELEASED',
  ])
  for (const it of inbox) expect(it.notification.allocation?.state).toBeDefined()
  expect(sshOutput.match(/^GPU \d/gm)).toHaveLength(2)
  expect(terminalOutput).toContain('berth-42-berth')
}

/**
 * As a good client does: the same request again as long as the platform says that it may be retried,
 * or is not there to say anything. Any other refusal fails at once.
 */
export async function persist<T>(ask: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + WITHIN.timeout
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!mayPass(error) || Date.now() > deadline) throw error
    }
    await delay(WITHIN.interval)
  }
}

const PASSING_CODES = [null, 'UPSTREAM_UNAVAILABLE', 'UNAVAILABLE', 'TIMEOUT']

function mayPass(error: unknown): boolean {
  if (error instanceof OperationFailed) return error.isRetryable
  if (error instanceof TerminalClosed) return PASSING_CODES.includes(error.code)
  return true // Of the network, or of an assertion that may come true.
}

export async function reached(
  graph: GraphClient,
  id: string,
  state: string,
): Promise<story.AllocationView> {
  return await persist(async () => {
    const allocation = await story.readAllocation(graph, id)
    expect(allocation.state).toBe(state)
    return allocation
  })
}

async function available(graph: GraphClient): Promise<number> {
  const offers = await story.offers(graph)
  return offers.find((it) => it.gpuModel.code === MODEL)?.available ?? 0
}

async function charged(graph: GraphClient, id: string): Promise<number> {
  return Number((await story.readAllocation(graph, id)).cost.amount)
}

async function echoInTerminal(graph: GraphClient, allocationId: string): Promise<string> {
  const { token, terminalSession } = await story.openTerminal(graph, allocationId)
  const terminal = await openTerminal({ url: terminalSession.url, token })
  terminal.write('echo berth-$((6 * 7))-berth\n')
  const output = await terminal.readUntil('berth-42-berth')
  await terminal.close()
  return output
}

function ofAllocation(items: story.AllocationUpdate[], id: string) {
  return items.filter((it) => it.allocation.id === id)
}

function inboxOf(items: story.InboxEvent[], id: string) {
  return items.filter((it) => it.notification.allocation?.id === id)
}
