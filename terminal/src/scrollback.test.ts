import { randomBytes, randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { createScrollback, type OutputStream } from './scrollback.ts'

const KEEP = 50_000

test.each([1, 2, 3, 4, 5])('against a model that keeps everything (%i)', () => {
  const scrollback = createScrollback(KEEP)
  let bytes = Buffer.alloc(0)
  let streams = ''
  let released = 0
  for (let step = 0; step < 200; step++) {
    const chunk = randomBytes(randomInt(0, 5_000))
    const stream: OutputStream = randomInt(10) === 0 ? 'stderr' : 'stdout'
    scrollback.append(chunk, stream)
    bytes = Buffer.concat([bytes, chunk])
    streams += (stream === 'stdout' ? 'o' : 'e').repeat(chunk.length)
    if (randomInt(3) === 0) {
      released = Math.max(released, randomInt(bytes.length + 1))
      scrollback.release(released)
    }
    expect(scrollback.end).toBe(bytes.length)
    // What was not released is there, and of what was, enough.
    const mayBeGone = Math.max(0, Math.min(released, bytes.length - KEEP))
    expect(scrollback.start).toBeLessThanOrEqual(mayBeGone)
    const offset = randomInt(scrollback.start, scrollback.end + 1)
    const read = scrollback.read(offset, randomInt(1, 3_000))
    const end = offset + read.bytes.length
    expect(read.bytes.length > 0).toBe(offset < bytes.length)
    expect(bytes.subarray(offset, end).equals(read.bytes)).toBe(true)
    expect(streams.slice(offset, end)).toMatch(read.stream === 'stdout' ? /^o*$/ : /^e*$/)
  }
})

test('what is released costs no more than what is kept', () => {
  const scrollback = createScrollback(KEEP)
  for (let step = 0; step < 1_000; step++) {
    scrollback.append(Buffer.alloc(10_000), 'stdout')
    scrollback.release(scrollback.end)
  }
  expect(scrollback.end - scrollback.start).toBeLessThan(2 * KEEP)
})

test('what is not released is kept, however much it is', () => {
  const scrollback = createScrollback(KEEP)
  for (let step = 0; step < 100; step++) scrollback.append(Buffer.alloc(10_000, step), 'stdout')
  expect(scrollback.start).toBe(0)
  expect(scrollback.read(990_000, 1).bytes[0]).toBe(99)
})

test('a stream that alternates without end keeps its bytes', () => {
  const scrollback = createScrollback(KEEP)
  for (let step = 0; step < 10_000; step++) {
    scrollback.append(Buffer.from([step % 256]), step % 2 ? 'stderr' : 'stdout')
  }
  let offset = 0
  while (offset < scrollback.end) {
    for (const byte of scrollback.read(offset, 1_000).bytes) expect(byte).toBe(offset++ % 256)
  }
})
