export type OutputStream = 'stdout' | 'stderr'

export type Scrollback = {
  /** Where the output ends: bytes appended since the session began. */
  readonly end: number
  /** The earliest byte still kept. */
  readonly start: number
  append(bytes: Uint8Array, stream: OutputStream): void
  /** Bytes from `offset`, at most `max`, all of one stream; none at the end. Valid until the next append. */
  read(offset: number, max: number): { bytes: Uint8Array; stream: OutputStream }
  /** Bytes before `offset` may be forgotten when room is needed; what follows never is. */
  release(offset: number): void
}

const INITIAL_BYTES = 16 * 1_024
const STREAM_CHANGES_MAX = 1_024

/**
 * A session's output by offset: all that was not released, and of what was released the last
 * `keepBytes`. One ring of bytes, which grows as it is needed.
 */
export function createScrollback(keepBytes: number): Scrollback {
  let ring = Buffer.allocUnsafe(INITIAL_BYTES)
  let start = 0
  let end = 0
  let released = 0
  /** Where the stream changes, in order; the first stands for all before it. */
  const changes: { from: number; stream: OutputStream }[] = []

  function append(bytes: Uint8Array, stream: OutputStream): void {
    if (bytes.length === 0) return
    mark(stream)
    makeRoom(bytes.length)
    const at = end % ring.length
    const first = bytes.subarray(0, ring.length - at)
    ring.set(first, at)
    ring.set(bytes.subarray(first.length), 0)
    end += bytes.length
  }

  /** Forgets what it may, then grows, so that the unreleased always fits. */
  function makeRoom(bytes: number): void {
    const fits = () => end + bytes - start <= ring.length
    if (fits()) return
    start = Math.max(start, Math.min(released, end + bytes - keepBytes))
    if (fits()) return
    let size = ring.length
    while (size < end + bytes - start) size *= 2
    const grown = Buffer.allocUnsafe(size)
    for (let at = start; at < end; ) {
      // A piece does not cross the old ring's end, nor then the new one's, which is a multiple.
      const piece = slice(at, end - at)
      grown.set(piece, at % size)
      at += piece.length
    }
    ring = grown
  }

  /** The contiguous part of the ring from an offset, not copied. */
  function slice(offset: number, max: number): Buffer {
    const at = offset % ring.length
    return ring.subarray(at, Math.min(ring.length, at + max))
  }

  function mark(stream: OutputStream): void {
    if (changes.at(-1)?.stream === stream) return
    while (changes.length > 1 && (changes[1]?.from ?? end) <= start) changes.shift()
    // A terminal has one stream. Were a node to alternate without end, labels would be merged.
    if (changes.length < STREAM_CHANGES_MAX) changes.push({ from: end, stream })
  }

  return {
    append,
    get start() {
      return start
    },
    get end() {
      return end
    },
    release(offset) {
      released = Math.max(released, Math.min(offset, end))
    },
    read(offset, max) {
      const index = changes.findLastIndex((it) => it.from <= offset)
      const until = Math.min(end, changes[index + 1]?.from ?? end)
      const bytes = slice(offset, Math.min(max, Math.max(0, until - offset)))
      return { bytes, stream: changes[index]?.stream ?? 'stdout' }
    },
  }
}
