/**
 * SSH's wire encoding (RFC 4251 §5), as keys and certificates use it: big-endian numbers, and
 * strings that carry their length.
 */

export function sshString(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as Uint8Array)
  return Buffer.concat([sshUint32(bytes.length), bytes])
}

export function sshUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function sshUint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** Thrown when bytes are not the structure that was asked for; callers turn it into their own error. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

export type WireReader = {
  /** The next string's bytes. */
  string(): Buffer
  /** The next string as UTF-8. */
  text(): string
  uint32(): number
  uint64(): bigint
  /** A positive multiple-precision integer without its sign byte. Negative and padded ones are refused. */
  mpint(): Buffer
  /** Bytes not yet read. */
  readonly left: number
  /** @throws {WireError} when bytes are left over. */
  end(): void
}

/** Reads a structure strictly: what is short, long or not minimal throws {@link WireError}. */
export function readWire(bytes: Buffer): WireReader {
  let at = 0
  const take = (length: number) => {
    if (at + length > bytes.length) throw new WireError('the structure is cut short')
    at += length
    return bytes.subarray(at - length, at)
  }
  const uint32 = () => take(4).readUInt32BE()
  const string = () => take(uint32())
  return {
    string,
    uint32,
    text: () => string().toString('utf8'),
    uint64: () => take(8).readBigUInt64BE(),
    mpint() {
      const value = string()
      const first = value[0]
      if (first === undefined || first >= 0x80) throw new WireError('a number is not positive')
      if (first !== 0) return value
      if ((value[1] ?? 0) < 0x80) throw new WireError('a number is padded')
      return value.subarray(1)
    },
    get left() {
      return bytes.length - at
    },
    end() {
      if (at !== bytes.length) throw new WireError('bytes follow the structure')
    },
  }
}
