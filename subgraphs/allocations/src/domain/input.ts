import { DomainError } from '@berth/platform/errors'
import { type Id, parseId } from '@berth/platform/ids'
import { z } from 'zod'

/** What is to be rented, checked. */
export type Wanted = {
  readonly name: string
  readonly gpuModel: string
  readonly gpuCount: number
  readonly region: string | null
  /** null: all of the person's. */
  readonly sshKeyIds: readonly Id<'ssk'>[] | null
}

const MAX_KEYS = 32

/** @throws {DomainError} BAD_INPUT that names what is wrong */
export function checkWanted(input: {
  name: string
  gpuModel: string
  gpuCount?: number | undefined
  region?: string | null | undefined
  sshKeyIds?: readonly string[] | null | undefined
}): Wanted {
  const { gpuModel, gpuCount = 1, region = null, sshKeyIds = null } = input
  if (!Number.isInteger(gpuCount) || gpuCount < 1 || gpuCount > 16) {
    throw new DomainError('BAD_INPUT', '`gpuCount` is a whole number from 1 to 16')
  }
  if (sshKeyIds && sshKeyIds.length > MAX_KEYS) {
    throw new DomainError('BAD_INPUT', `At most ${MAX_KEYS} keys can be installed`)
  }
  return {
    name: checkName(input.name),
    gpuModel: checkCode('gpuModel', gpuModel, 80),
    gpuCount,
    region: region === null ? null : checkCode('region', region, 40),
    sshKeyIds: sshKeyIds && [...new Set(sshKeyIds.map((id) => parseId('ssk', id)))].sort(),
  }
}

/** A name for people. @throws {DomainError} BAD_INPUT unless it has 1 to 80 printable characters */
export function checkName(text: string): string {
  const name = text.trim()
  if (/^[^\p{Cc}\p{Cs}\u2028\u2029]{1,80}$/u.test(name)) return name
  throw new DomainError('BAD_INPUT', '`name` has 1 to 80 characters, and no line breaks')
}

/**
 * The Origin that a terminal's token will work from, as browsers send it.
 *
 * @throws {DomainError} BAD_INPUT when it is not one of those allowed
 */
export function checkOrigin(origin: string | null, allowed: readonly string[]): string | null {
  if (origin === null || allowed.includes(origin)) return origin
  throw new DomainError(
    'BAD_INPUT',
    z.url().safeParse(origin).success
      ? 'Terminals cannot be opened from this origin: the operator has not allowed it'
      : '`origin` is a scheme and host, such as https://console.example.com, or null',
  )
}

function checkCode(field: string, text: string, max: number): string {
  if (text.length <= max && /^[a-z0-9][a-z0-9.-]*$/.test(text)) return text
  throw new DomainError('BAD_INPUT', `\`${field}\` is a code such as those that \`offers\` lists`)
}
