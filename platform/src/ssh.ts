import type { Socket } from 'node:net'
import type { ParsedKey, PublicKeyAuthMethod, Client as SshClient } from 'ssh2'
import type { DialGuard } from './dial-guard.ts'
import { certificateLogin, parseKey } from './ssh/certificate-auth.ts'
import { SshError } from './ssh/error.ts'
import { runCommand, type SshExecOptions, type SshResult } from './ssh/exec.ts'
import { fingerprintOfBlob } from './ssh/public-key.ts'
import { openShell, type SshShell, type SshShellOptions } from './ssh/shell.ts'
import { Client } from './ssh/ssh2.ts'

export { SshError, type SshFailure } from './ssh/error.ts'
export type { SshExecOptions, SshResult } from './ssh/exec.ts'
export type { SshShell, SshShellExit, SshShellOptions } from './ssh/shell.ts'

export type SshOptions = {
  /** A connected socket, or where to dial, through the guard. */
  target: { socket: Socket } | { host: string; port: number; dial: DialGuard['connect'] }
  username: string
  /** `SHA256:…` the host must present; null trusts what it presents, to be pinned from then on. */
  hostKeySha256: string | null
  /** Ed25519, OpenSSH PEM: made for this connection. */
  privateKey: string
  /** Its certificate; without one the bare key is presented. */
  certificate?: string
  /** For dialing and for logging in, each. */
  timeoutSeconds: number
}

export type SshConnection = {
  /** What the host presented. */
  readonly hostKeySha256: string
  /** Runs a command without a terminal. @throws {SshError} when it has no exit to report */
  exec(command: string, options: SshExecOptions): Promise<SshResult>
  /** A login shell on a terminal of its own. */
  shell(options: SshShellOptions): Promise<SshShell>
  /** Settles when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>
  close(): void
}

const KEEPALIVE_MS = 15_000
/** One order for all: the pin is of the key that a host with several presents to this client. */
const HOST_KEY_ALGORITHMS = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
] as const

/**
 * Connects to a node and logs in.
 *
 * @throws {SshError} whose `failure` says how far it came; nothing of the host's own words is shown
 * @throws {DomainError} BAD_TARGET, TIMEOUT or UPSTREAM_UNAVAILABLE from dialing
 */
export async function connectSsh(options: SshOptions): Promise<SshConnection> {
  const { target, timeoutSeconds } = options
  const login = options.certificate
    ? certificateLogin(options.privateKey, options.certificate)
    : { key: parseKey(options.privateKey), override: () => {} }
  const timeoutMs = timeoutSeconds * 1_000
  const socket =
    'socket' in target ? target.socket : await target.dial(target.host, target.port, { timeoutMs })

  const client = new Client()
  let presented = ''
  let isChanged = false
  const ready = settled(client, () => isChanged)
  const closed = new Promise<void>((done) => client.once('close', () => done()))
  client.connect({
    sock: socket,
    username: options.username,
    authHandler: [publicKeyOf(options.username, login.key)],
    ident: 'berth',
    readyTimeout: timeoutMs,
    keepaliveInterval: KEEPALIVE_MS,
    keepaliveCountMax: 3,
    algorithms: { serverHostKey: [...HOST_KEY_ALGORITHMS] },
    hostVerifier: (key: Buffer) => {
      presented = fingerprintOfBlob(key)
      isChanged = options.hostKeySha256 !== null && options.hostKeySha256 !== presented
      return !isChanged
    },
  })
  login.override(client)
  try {
    await ready
  } catch (error) {
    client.destroy()
    socket.destroy()
    throw error
  }
  return {
    hostKeySha256: presented,
    exec: (command, execOptions) => runCommand(client, command, execOptions),
    shell: (shellOptions) => openShell(client, shellOptions),
    closed,
    close: () => client.end(),
  }
}

/** ssh2 takes parsed keys too, which its types do not say. */
function publicKeyOf(username: string, key: ParsedKey): PublicKeyAuthMethod {
  return { type: 'publickey', username, key: key as unknown as Buffer }
}

/** Ready, or why not. The error listener stays: an unheard error event would end the process. */
function settled(client: SshClient, isHostKeyChanged: () => boolean): Promise<void> {
  return new Promise((done, fail) => {
    client.once('ready', () => done())
    client.on('error', (cause: Error & { level?: string }) => {
      if (isHostKeyChanged()) return fail(new SshError('HOST_KEY_CHANGED', cause))
      if (cause.level === 'client-authentication') return fail(new SshError('REFUSED', cause))
      if (cause.level === 'client-timeout') return fail(new SshError('TIMEOUT', cause))
      fail(new SshError('CLOSED', cause))
    })
    client.once('close', () => fail(new SshError('CLOSED')))
  })
}
