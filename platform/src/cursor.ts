import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { DomainError } from './errors.ts'

/** Whose positions they are: a stream's name, and the person or organization who may read it. */
export type CursorScope = { readonly stream: string; readonly owner: string }

export type Cursors = {
  encode(at: CursorScope & { position: bigint }): string
  /** @throws {DomainError} BAD_INPUT when it was tampered with, or belongs to another stream or owner. */
  decode(text: string, scope: CursorScope): bigint
}

/**
 * Opaque cursors of durable streams: `<16 bytes tag><8 bytes masked position>` in base64url. The
 * tag authenticates stream, owner and position; the position is masked under the tag, because it
 * would tell one tenant how much happens at all others.
 *
 * @param key 32 bytes or more, the same in every replica
 */
export function createCursors(key: Uint8Array): Cursors {
  if (key.byteLength < 32) throw new RangeError('a cursor key has at least 32 bytes')
  const macKey = derive(key, 'tag')
  const maskKey = derive(key, 'mask')

  const tagOf = ({ stream, owner }: CursorScope, position: Buffer) => {
    const mac = createHmac('sha256', macKey)
    for (const part of [stream, owner]) {
      const bytes = Buffer.from(part)
      mac.update(uint64(BigInt(bytes.length))).update(bytes)
    }
    return mac.update(position).digest().subarray(0, TAG_BYTES)
  }
  const masked = (position: Buffer, tag: Buffer) => {
    const mask = createHmac('sha256', maskKey).update(tag).digest()
    return Buffer.from(position.map((byte, i) => byte ^ (mask[i] ?? 0)))
  }

  return {
    encode({ position, ...scope }) {
      const plain = uint64(position)
      const tag = tagOf(scope, plain)
      return Buffer.concat([tag, masked(plain, tag)]).toString('base64url')
    },
    decode(text, scope) {
      const bytes = Buffer.from(text, 'base64url')
      if (bytes.length !== TAG_BYTES + 8 || bytes.toString('base64url') !== text) throw refused()
      const tag = bytes.subarray(0, TAG_BYTES)
      const position = masked(bytes.subarray(TAG_BYTES), tag)
      if (!timingSafeEqual(tag, tagOf(scope, position))) throw refused()
      return position.readBigUInt64BE()
    },
  }
}

/** For a cursor that points before what is still kept: a gap is never silent. */
export function beyondRetention(): DomainError {
  return new DomainError(
    'STREAM_RESET',
    'This cursor is older than what is kept: read the current state, then subscribe without it',
  )
}

const TAG_BYTES = 16

function refused(): DomainError {
  return new DomainError('BAD_INPUT', 'This is not a cursor of this stream: subscribe without it')
}

function derive(key: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', `berth/cursor/v1/${purpose}`, 32))
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}
