import { randomBytes, sign } from 'node:crypto'
import { readSshPrivateKey } from './ssh/private-key.ts'
import { parseSshPublicKey } from './ssh/public-key.ts'
import { readWire, sshString, sshUint32, sshUint64 } from './ssh/wire.ts'

export { newSshKeyPair, type SshKeyPair } from './ssh/private-key.ts'
export { parseSshPublicKey, type SshPublicKey, sshFingerprint } from './ssh/public-key.ts'

const CERTIFICATE_TYPE = 'ssh-ed25519-cert-v01@openssh.com'
const KEY_TYPE = 'ssh-ed25519'
const USER_CERTIFICATE = 1
const PRINCIPALS_MAX = 256 // What sshd reads at most (SSHKEY_CERT_MAX_PRINCIPALS).

export type SshCertificateRequest = {
  /** The authority's Ed25519 private key, in OpenSSH's PEM. */
  caPrivateKey: string
  /** The key to certify: `ssh-ed25519 AAAA…`. */
  publicKey: string
  /** Written to sshd's log at each use: ids only. */
  keyId: string
  /** Who the holder may be, at least one: a certificate without principals would be good for everyone. */
  principals: readonly string[]
  validAfter: Date
  validBefore: Date
  /** What the session may do; nothing else is granted. */
  extensions: readonly 'permit-pty'[]
  /** Unique per authority; what a revocation list names. */
  serial: bigint
}

/**
 * Signs an OpenSSH user certificate (PROTOCOL.certkeys) for an Ed25519 key.
 *
 * Written out here on node:crypto, because it is one structure and the signature of all access to
 * the nodes: every field of it can be read on this page.
 *
 * @returns one line, `ssh-ed25519-cert-v01@openssh.com AAAA…`; times are cut to whole seconds
 * @throws {RangeError} on an empty or foreign principal or an empty interval: the caller's bug
 * @throws {DomainError} BAD_INPUT when `publicKey` is not a public key
 */
export function signSshCertificate(request: SshCertificateRequest): string {
  const { principals, keyId } = request
  if (principals.length === 0 || principals.length > PRINCIPALS_MAX) {
    throw new RangeError(`a certificate names 1 to ${PRINCIPALS_MAX} principals`)
  }
  for (const text of [keyId, ...principals]) {
    // A comma or a blank would make two names of one in the files that sshd reads.
    if (!/^[\x21-\x2b\x2d-\x7e]{1,255}$/.test(text))
      throw new RangeError('a name is not a plain word')
  }
  const validAfter = toSeconds(request.validAfter)
  const validBefore = toSeconds(request.validBefore)
  if (validAfter >= validBefore) throw new RangeError('a certificate must be valid for a while')

  const ca = readSshPrivateKey(request.caPrivateKey)
  const body = Buffer.concat([
    sshString(CERTIFICATE_TYPE),
    sshString(randomBytes(32)),
    sshString(ed25519Point(request.publicKey)),
    sshUint64(request.serial),
    sshUint32(USER_CERTIFICATE),
    sshString(keyId),
    sshString(Buffer.concat(principals.map((principal) => sshString(principal)))),
    sshUint64(validAfter),
    sshUint64(validBefore),
    sshString(''), // Critical options: none.
    sshString(encodeExtensions(request.extensions)),
    sshString(''), // Reserved.
    sshString(ca.publicBlob),
  ])
  const signature = Buffer.concat([sshString(KEY_TYPE), sshString(sign(null, body, ca.key))])
  return `${CERTIFICATE_TYPE} ${Buffer.concat([body, sshString(signature)]).toString('base64')}`
}

function ed25519Point(publicKey: string): Buffer {
  const key = parseSshPublicKey(publicKey)
  if (key.type !== KEY_TYPE) throw new RangeError('only Ed25519 keys are certified')
  const wire = readWire(Buffer.from(key.publicKey.split(' ')[1] ?? '', 'base64'))
  wire.string()
  return wire.string()
}

/** Names in lexical order, each once, each with empty data. */
function encodeExtensions(names: readonly string[]): Buffer {
  const sorted = [...new Set(names)].sort()
  return Buffer.concat(sorted.flatMap((name) => [sshString(name), sshString('')]))
}

function toSeconds(time: Date): bigint {
  const seconds = Math.floor(time.getTime() / 1_000)
  if (!(seconds >= 0)) throw new RangeError('a time is missing')
  return BigInt(seconds)
}
