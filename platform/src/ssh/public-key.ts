import { createHash, createPublicKey } from 'node:crypto'
import { DomainError } from '../errors.ts'
import { readWire, type WireReader } from './wire.ts'

export type SshPublicKey = {
  /** As SSH names it: `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, `sk-ssh-ed25519@openssh.com`… */
  type: string
  /** `type base64`, without comment: one canonical text per key, safe in an authorized_keys line. */
  publicKey: string
  /** What followed the key, printable characters only, at most 200; may be empty. */
  comment: string
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  fingerprint: string
}

const WHAT_TO_PASTE =
  'Paste the one line of your public key file, such as ~/.ssh/id_ed25519.pub: it begins with ssh-ed25519, ecdsa-sha2-, ssh-rsa or sk-'
const TEXT_MAX = 16_384
const RSA_BITS_MIN = 2_048
const RSA_BITS_MAX = 16_384

/**
 * Reads one line of an OpenSSH public key file, as a person pastes it.
 *
 * Options (`command="…" ssh-…`), further lines, private keys, certificates, weak keys and keys
 * whose bytes are not what their type says are refused: the canonical text goes into files that
 * sshd obeys.
 *
 * @throws {DomainError} BAD_INPUT that says what to paste
 */
export function parseSshPublicKey(text: string): SshPublicKey {
  if (text.length > TEXT_MAX) throw refuse('This is too long for a public key')
  const line = text.trim()
  if (/PRIVATE KEY/.test(line)) throw refuse('This is a private key: keep it to yourself')
  if (/[\r\n]/.test(line)) throw refuse('A public key is one line')
  const [, type, base64, comment = ''] = /^(\S+) +(\S+)(?: +(.*))?$/.exec(line) ?? []
  if (type === undefined || base64 === undefined) throw refuse('This is not a public key')
  if (type.includes('-cert-v0')) throw refuse('This is a certificate')
  const read = readers.get(type)
  if (!read) {
    throw refuse(
      type === 'ssh-dss' ? 'DSA keys are no longer safe' : 'This does not begin with a key type',
    )
  }
  const blob = Buffer.from(base64, 'base64')
  if (blob.toString('base64') !== base64) throw refuse('The key is not complete')
  try {
    const wire = readWire(blob)
    if (wire.text() !== type) throw refuse('The key is not of the type it begins with')
    read(wire)
    wire.end()
  } catch (cause) {
    if (cause instanceof DomainError) throw cause
    throw refuse('The key is damaged', cause)
  }
  return {
    type,
    publicKey: `${type} ${base64}`,
    comment: comment.replaceAll(/[^ -~]/g, '').slice(0, 200),
    fingerprint: fingerprintOfBlob(blob),
  }
}

/** `SHA256:…` of a public key line, as `ssh-keygen -l` prints it. */
export function sshFingerprint(publicKey: string): string {
  return fingerprintOfBlob(Buffer.from(publicKey.split(' ')[1] ?? '', 'base64'))
}

/** `SHA256:…` of a key in wire form, such as the host key a server presents. */
export function fingerprintOfBlob(blob: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

const refuse = (reason: string, cause?: unknown) =>
  new DomainError('BAD_INPUT', `${reason}. ${WHAT_TO_PASTE}.`, { cause })

/** What follows the type name in the key, checked by type. */
const readers = new Map<string, (wire: WireReader) => void>([
  ['ssh-ed25519', readEd25519],
  ['ecdsa-sha2-nistp256', (wire) => readCurvePoint(wire, 'nistp256')],
  ['ecdsa-sha2-nistp384', (wire) => readCurvePoint(wire, 'nistp384')],
  ['ecdsa-sha2-nistp521', (wire) => readCurvePoint(wire, 'nistp521')],
  ['ssh-rsa', readRsa],
  [
    'sk-ssh-ed25519@openssh.com',
    (wire) => {
      readEd25519(wire)
      readApplication(wire)
    },
  ],
  [
    'sk-ecdsa-sha2-nistp256@openssh.com',
    (wire) => {
      readCurvePoint(wire, 'nistp256')
      readApplication(wire)
    },
  ],
])

function readEd25519(wire: WireReader): void {
  if (wire.string().length !== 32) throw refuse('The key is damaged')
}

function readApplication(wire: WireReader): void {
  if (!/^ssh:[\x21-\x7e]*$/.test(wire.text())) throw refuse('The security key is not one for SSH')
}

const CURVES = {
  nistp256: { crv: 'P-256', bytes: 32 },
  nistp384: { crv: 'P-384', bytes: 48 },
  nistp521: { crv: 'P-521', bytes: 66 },
} as const

function readCurvePoint(wire: WireReader, name: keyof typeof CURVES): void {
  const curve = CURVES[name]
  if (wire.text() !== name) throw refuse('The key is not on the curve it names')
  const point = wire.string()
  if (point.length !== 1 + 2 * curve.bytes || point[0] !== 4) throw refuse('The key is damaged')
  const x = point.subarray(1, 1 + curve.bytes).toString('base64url')
  const y = point.subarray(1 + curve.bytes).toString('base64url')
  // OpenSSL refuses a point that is not on the curve.
  createPublicKey({ key: { kty: 'EC', crv: curve.crv, x, y }, format: 'jwk' })
}

function readRsa(wire: WireReader): void {
  const exponent = wire.mpint()
  const modulus = wire.mpint()
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  if (bits < RSA_BITS_MIN) throw refuse(`An RSA key of ${bits} bits is too weak: 2048 or more`)
  const isOdd = (value: Buffer) => ((value.at(-1) ?? 0) & 1) === 1
  const isUnit = exponent.length === 1 && exponent[0] === 1
  if (bits > RSA_BITS_MAX || exponent.length > 8 || isUnit || !isOdd(exponent) || !isOdd(modulus)) {
    throw refuse('The RSA key is not a sound one')
  }
}
