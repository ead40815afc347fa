import { createHash } from 'node:crypto'
import { TypeID } from 'typeid-js'
import { v7 } from 'uuid'
import { DomainError } from './errors.ts'

/** `<3 letters>_<UUIDv7 in base32>`: what the outside sees. Postgres keeps the `uuid`. */
export type Id<P extends string> = `${P}_${string}`

const SYNTAX = /^[a-z]{3}_[0-7][0-9a-hjkmnp-tv-z]{25}$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function newId<P extends string>(prefix: P): Id<P> {
  return uuidToId(prefix, newUuid())
}

/** A UUIDv7 in lower case; those of one process ascend. */
export function newUuid(): string {
  return v7()
}

/** @throws {TypeError} when the prefix is not three letters or the uuid is malformed: a caller's bug. */
export function uuidToId<P extends string>(prefix: P, uuid: string): Id<P> {
  const lower = uuid.toLowerCase()
  if (!/^[a-z]{3}$/.test(prefix) || !UUID.test(lower)) {
    throw new TypeError(`not a three-letter prefix and a uuid: ${prefix}, ${uuid}`)
  }
  return TypeID.fromUUID(prefix as string, lower).toString() as Id<P>
}

/** @throws {DomainError} BAD_INPUT when it is no id. */
export function idToUuid(id: string): string {
  if (!SYNTAX.test(id)) throw new DomainError('BAD_INPUT', `${shown(id)} is not an id`)
  return TypeID.fromString(id).toUUID()
}

/** @throws {DomainError} BAD_INPUT when the text is not an id of this kind. */
export function parseId<P extends string>(prefix: P, text: string): Id<P> {
  if (!isId(prefix, text)) {
    throw new DomainError('BAD_INPUT', `${shown(text)} is not an id of the form ${prefix}_…`)
  }
  return text
}

export function isId<P extends string>(prefix: P, text: unknown): text is Id<P> {
  return typeof text === 'string' && text.startsWith(`${prefix}_`) && SYNTAX.test(text)
}

/** The millisecond at which the id was made. @throws {DomainError} BAD_INPUT when it is no id. */
export function timeOfId(id: string): Date {
  return timeOfUuid(idToUuid(id))
}

/** The first 48 bits of a UUIDv7 are its time in milliseconds. */
export function timeOfUuid(uuid: string): Date {
  return new Date(Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16))
}

/**
 * A UUIDv7-shaped id of a cause: its time is `at`, the rest is SHA-256 of the cause. The same pair
 * gives the same id for ever, so that a retry finds what its first attempt wrote, in the same
 * month's partition.
 */
export function deriveUuid(at: Date, cause: string): string {
  const time = at.getTime()
  if (!Number.isInteger(time) || time < 0 || time >= 2 ** 48) throw new RangeError('time of an id')
  const bytes = createHash('sha256').update(cause).digest().subarray(0, 16)
  bytes.writeUIntBE(time, 0, 6)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return [0, 8, 12, 16, 20].map((from, i) => hex.slice(from, [8, 12, 16, 20, 32][i])).join('-')
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}
