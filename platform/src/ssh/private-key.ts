import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { readWire, sshString, sshUint32, WireError } from './wire.ts'

const MAGIC = 'openssh-key-v1\0'
const TYPE = 'ssh-ed25519'

export type SshKeyPair = {
  /** OpenSSH's own PEM, unencrypted: what ssh2, ssh-keygen and sshd read. */
  privateKey: string
  /** `ssh-ed25519 AAAA…`, without comment. */
  publicKey: string
}

/** A fresh Ed25519 key pair: for a session of minutes, a certificate authority or a host. */
export function newSshKeyPair(): SshKeyPair {
  const { d, x } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  if (d === undefined || x === undefined) throw new Error('Ed25519 keys have d and x')
  const point = Buffer.from(x, 'base64url')
  const blob = Buffer.concat([sshString(TYPE), sshString(point)])
  const check = randomBytes(4)
  const secret = Buffer.concat([
    check,
    check,
    blob,
    sshString(Buffer.concat([Buffer.from(d, 'base64url'), point])),
    sshString(''),
  ])
  // PROTOCOL.key: padded 1, 2, 3… to the block size, which is 8 when nothing is encrypted.
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, (8 - (secret.length % 8)) % 8)
  const body = Buffer.concat([
    Buffer.from(MAGIC),
    sshString('none'),
    sshString('none'),
    sshString(''),
    sshUint32(1),
    sshString(blob),
    sshString(Buffer.concat([secret, padding])),
  ])
  const lines = body.toString('base64').match(/.{1,70}/g) ?? []
  return {
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicKey: `${TYPE} ${blob.toString('base64')}`,
  }
}

/**
 * Reads an unencrypted Ed25519 private key in OpenSSH's PEM.
 *
 * @throws {Error} when it is anything else: keys come from our own stores, so that is no user's fault
 */
export function readSshPrivateKey(pem: string): { key: KeyObject; publicBlob: Buffer } {
  const base64 = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+)-----END/.exec(pem)?.[1]
  const body = Buffer.from(base64 ?? '', 'base64')
  try {
    if (body.subarray(0, MAGIC.length).toString() !== MAGIC) throw new WireError('no OpenSSH key')
    const wire = readWire(body.subarray(MAGIC.length))
    if (wire.text() !== 'none' || wire.text() !== 'none') throw new WireError('it is encrypted')
    wire.string()
    if (wire.uint32() !== 1) throw new WireError('it holds several keys')
    const publicBlob = Buffer.from(wire.string())
    const secret = readWire(wire.string())
    const check = secret.uint32()
    if (check !== secret.uint32()) throw new WireError('its check bytes differ')
    if (secret.text() !== TYPE) throw new WireError('it is not Ed25519')
    const x = secret.string().toString('base64url')
    const d = secret.string().subarray(0, 32).toString('base64url')
    const jwk = { kty: 'OKP', crv: 'Ed25519', d, x }
    return { key: createPrivateKey({ key: jwk, format: 'jwk' }), publicBlob }
  } catch (cause) {
    throw new Error('An Ed25519 private key in OpenSSH form is needed', { cause })
  }
}
