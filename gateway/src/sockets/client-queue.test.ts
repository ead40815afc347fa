import { expect, test } from 'vitest'
import { type Carrier, ClientQueue } from './client-queue.ts'

const LIMITS = { messages: 4, characters: 20 }

/** A carrier that takes so many texts, and then none until it is drained. */
function rig(takes: number) {
  const written: string[] = []
  let left = takes
  let overflows = 0
  const carrier: Carrier = {
    get isFull() {
      return left <= 0
    },
    write(text) {
      written.push(text)
      left--
    },
    overflow: () => void overflows++,
  }
  const queue = new ClientQueue(carrier, LIMITS)
  return {
    queue,
    written,
    overflows: () => overflows,
    drain(again: number) {
      left = again
      queue.flush()
    },
  }
}

test('while the carrier takes them, texts are written at once, and else once it does, in order', () => {
  const { queue, written, drain, overflows } = rig(2)
  for (const text of ['1', '2', '3', '4', '5']) queue.send(text)
  expect(written).toEqual(['1', '2'])
  drain(1)
  expect(written).toEqual(['1', '2', '3'])
  queue.send('6')
  // A free carrier is not used past those that wait.
  drain(10)
  queue.send('7')
  expect(written).toEqual(['1', '2', '3', '4', '5', '6', '7'])
  expect(overflows()).toBe(0)
})

test.each([
  ['messages', Array.from({ length: LIMITS.messages }, (_, i) => String(i)), 'x'],
  ['characters', ['x'.repeat(LIMITS.characters)], 'x'],
])('so many %s wait, and with one more the client is cut off, once', (_what, within, beyond) => {
  const { queue, written, overflows, drain } = rig(0)
  for (const text of within) queue.send(text)
  expect(overflows()).toBe(0)
  queue.send(beyond)
  expect(overflows()).toBe(1)
  queue.send('more')
  drain(10)
  expect(overflows()).toBe(1)
  expect(written).toEqual([])
})

test('what was taken counts no longer', () => {
  const { queue, overflows, drain } = rig(0)
  for (let i = 0; i < 100; i++) {
    for (let n = 0; n < LIMITS.messages; n++) queue.send('12345')
    drain(LIMITS.messages)
    drain(0)
  }
  expect(overflows()).toBe(0)
})

test('whoever can wait is told when there is room, and not left waiting at the end', async () => {
  const { queue, drain } = rig(1)
  expect(queue.room()).toBeNull()
  queue.send('1')
  // Full, though nothing waits yet.
  const room = queue.room()
  expect(room).toBeInstanceOf(Promise)
  expect(queue.room()).toBe(room)
  drain(1)
  await room
  expect(queue.room()).toBeNull()
  queue.send('2')
  queue.send('3')
  const atEnd = queue.room()
  queue.close()
  await atEnd
  expect(queue.room()).toBeNull()
})

test('after the end nothing is written', () => {
  const { queue, written, drain } = rig(0)
  queue.send('1')
  queue.close()
  queue.send('2')
  drain(10)
  expect(written).toEqual([])
})
