import { randomFillSync } from 'node:crypto'

/** The system is asked for many at a time: asking costs more than they do. */
const pool = Buffer.alloc(8 * 1024)
let used = pool.length

/** Unpredictable hexadecimal digits, for identifiers; secrets are made by node:crypto directly. */
export function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const from = used
  used += bytes
  return pool.toString('hex', from, used)
}
