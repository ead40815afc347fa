import type { Client, ParsedKey } from 'ssh2'
import { parseKey as parse } from './ssh2.ts'
import { sshString } from './wire.ts'

const PLAIN = 'ssh-ed25519'
const CERTIFIED = 'ssh-ed25519-cert-v01@openssh.com'
const USERAUTH_REQUEST = 50

/**
 * Lets ssh2 log in with an OpenSSH user certificate.
 *
 * ssh2 1.17 can present a certificate as its public key, but then labels the signature with the
 * certificate's algorithm, while PROTOCOL.certkeys wants the plain key's: sshd refuses it. So the
 * signed request, and it alone, is written here, over fields that ssh2 does not publish: its
 * version is pinned, and `ssh.test.ts` logs in to a real sshd.
 *
 * @returns the key for ssh2's `authHandler`; call `override` once, right after `connect`
 */
export function certificateLogin(privateKey: string, certificate: string) {
  const key = parseKey(privateKey)
  const [type, base64 = ''] = certificate.split(' ')
  if (type !== CERTIFIED) throw new RangeError(`the certificate is not ${CERTIFIED}`)
  const blob = Buffer.from(base64, 'base64')
  const certified: ParsedKey = Object.create(key, {
    type: { value: CERTIFIED },
    getPublicSSH: { value: () => blob },
  })
  return { key: certified, override: (client: Client) => override(client, blob) }
}

/** @throws {RangeError} when it is not an unencrypted private key */
export function parseKey(privateKey: string): ParsedKey {
  const key = parse(privateKey)
  if (key instanceof Error) throw new RangeError('the private key cannot be read', { cause: key })
  return key
}

type Sign = (data: Buffer, done: (signature: Buffer) => void) => void
type Protocol = {
  authPK(user: string, key: ParsedKey, algorithm: string | Sign | undefined, sign?: Sign): void
  _kex: { sessionID: Buffer }
  _packetRW: {
    write: { allocStart: number; alloc(size: number): Buffer; finalize(packet: Buffer): Buffer }
  }
  _authsQueue: string[]
  _cipher: { encrypt(packet: Buffer): void }
}

function override(client: Client, certificate: Buffer): void {
  const protocol = (client as unknown as { _protocol: Protocol })._protocol
  const present = protocol.authPK.bind(protocol)
  protocol.authPK = (user, key, algorithm, sign = undefinedUnlessSign(algorithm)) => {
    if (!sign) return present(user, key, CERTIFIED)
    // RFC 4252 §7: the same fields are signed, after the session id, and sent.
    const request = Buffer.concat([
      Buffer.from([USERAUTH_REQUEST]),
      sshString(user),
      sshString('ssh-connection'),
      sshString('publickey'),
      Buffer.from([1]),
      sshString(CERTIFIED),
      sshString(certificate),
    ])
    sign(Buffer.concat([sshString(protocol._kex.sessionID), request]), (signature) => {
      const labelled = Buffer.concat([sshString(PLAIN), sshString(signature)])
      const payload = Buffer.concat([request, sshString(labelled)])
      const writer = protocol._packetRW.write
      const start = writer.allocStart
      const packet = writer.alloc(payload.length)
      packet.set(payload, start)
      protocol._authsQueue.push('publickey')
      protocol._cipher.encrypt(writer.finalize(packet))
    })
  }
}

const undefinedUnlessSign = (value: unknown) =>
  typeof value === 'function' ? (value as Sign) : undefined
