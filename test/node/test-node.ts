import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { createDialGuard } from '@berth/platform/dial-guard'
import { nodeAccount } from '@berth/platform/servers/account'
import { berthHome } from '@berth/platform/servers/home'
import { findServers } from '@berth/platform/servers/provision'
import { connectSsh, type SshConnection } from '@berth/platform/ssh'
import { newSshKeyPair, signSshCertificate } from '@berth/platform/ssh-certificate'
import { type DevelopmentNode, startNode } from './node.ts'

export type TestNode = DevelopmentNode & {
  readonly directory: string
  readonly name: string
  readonly host: string
  readonly port: number
  readonly username: string
  /** Where OpenSSH's other programs are, should they not be on PATH. */
  readonly programs: string
  /** Private keys of the two authorities that the node believes. */
  readonly authorities: { user: string; node: string }
  /** Logs in with a certificate of the authority, good for one minute. */
  login(authority: 'user' | 'node', principal: string): Promise<SshConnection>
  /** Ends it and removes its directory. */
  remove(): Promise<void>
}

/** A development node of the test's own: free port, fresh directory, fresh authorities. */
export async function openTestNode(): Promise<TestNode> {
  const account = nodeAccount()
  const { sshd } = await findServers(['sshd'], { servers: berthHome().servers, account })
  const directory = mkdtempSync(join(tmpdir(), 'berth-node-'))
  chmodSync(directory, 0o711) // mkdtemp's 0700 is root's when the account is another.
  const authorities = { user: newSshKeyPair(), node: newSshKeyPair() }
  const host = '127.0.0.1'
  const port = await freePort()
  const name = 'test'
  const username = loginName()
  const node = await startNode({
    directory,
    name,
    host,
    port,
    account,
    sshd: { path: sshd.file, libraryPath: sshd.env.LD_LIBRARY_PATH },
    authorities: { user: authorities.user.publicKey, node: authorities.node.publicKey },
  })
  const guard = createDialGuard({
    allowedCidrs: [],
    exceptions: [`${host}:${port}`],
    production: false,
  })
  return {
    ...node,
    directory,
    name,
    host,
    port,
    username,
    programs: join(dirname(sshd.file), '../bin'),
    authorities: { user: authorities.user.privateKey, node: authorities.node.privateKey },
    async login(authority, principal) {
      const key = newSshKeyPair()
      const now = Date.now()
      const certificate = signSshCertificate({
        caPrivateKey: authorities[authority].privateKey,
        publicKey: key.publicKey,
        keyId: 'test',
        principals: [principal],
        validAfter: new Date(now - 60_000),
        validBefore: new Date(now + 60_000),
        extensions: ['permit-pty'],
        serial: 1n,
      })
      return connectSsh({
        target: { host, port, dial: guard.connect },
        username,
        hostKeySha256: null,
        privateKey: key.privateKey,
        certificate,
        timeoutSeconds: 10,
      })
    },
    async remove() {
      await node.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer().once('error', fail)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Whom to log in as: a node without privileges knows only the account that it runs as. */
export function loginName(): string {
  const account = nodeAccount()
  if (!account) return userInfo().username
  return execFileSync('id', ['-un', String(account.uid)])
    .toString()
    .trim()
}
