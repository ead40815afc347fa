import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectSsh, type SshConnection } from '@berth/platform/ssh'
import { newSshKeyPair, signSshCertificate, sshFingerprint } from '@berth/platform/ssh-certificate'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from './eventually.ts'
import { nodeAccounts } from './node-account.ts'
import { openTestNode, type TestNode } from './test-node.ts'

let node: TestNode
let ssh: SshConnection
beforeAll(async () => {
  node = await openTestNode()
  ssh = await node.login('node', `admin@${node.name}`)
})
afterAll(async () => {
  ssh?.close()
  await node?.remove()
})

const options = { timeoutSeconds: 10, maxBytes: 10_000 }
const minutes = (count: number) => new Date(Date.now() + count * 60_000)

/** Logs in with exactly this certificate, or without one. */
async function login(
  change: Partial<Parameters<typeof signSshCertificate>[0]>,
  { hostKeySha256 = null as string | null, otherKey = false, bare = false } = {},
) {
  const key = newSshKeyPair()
  const certificate = signSshCertificate({
    caPrivateKey: node.authorities.node,
    publicKey: key.publicKey,
    keyId: 'test',
    principals: [`admin@${node.name}`],
    validAfter: minutes(-1),
    validBefore: minutes(1),
    extensions: [],
    serial: 1n,
    ...change,
  })
  return connectSsh({
    target: { socket: connect(node.port, node.host) },
    username: node.username,
    hostKeySha256,
    privateKey: otherKey ? newSshKeyPair().privateKey : key.privateKey,
    ...(!bare && { certificate }),
    timeoutSeconds: 5,
  })
}

test('ssh-keygen reads what was signed', () => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-certificate-'))
  const ca = newSshKeyPair()
  const key = newSshKeyPair()
  const file = join(directory, 'key-cert.pub')
  const certificate = signSshCertificate({
    caPrivateKey: ca.privateKey,
    publicKey: key.publicKey,
    keyId: 'tms_1',
    principals: ['alc_1@node-1', 'alc_2@node-1'],
    validAfter: new Date('2026-01-01T00:00:00Z'),
    validBefore: new Date('2026-01-01T00:05:00Z'),
    extensions: ['permit-pty'],
    serial: 18_446_744_073_709_551_615n,
  })
  writeFileSync(file, `${certificate}\n`)
  const env = { PATH: `${process.env.PATH}:${node.programs}`, TZ: 'UTC' }
  const said = execFileSync('ssh-keygen', ['-L', '-f', file], { env }).toString()
  const privateFile = join(directory, 'key')
  writeFileSync(privateFile, key.privateKey, { mode: 0o600 })
  const derived = execFileSync('ssh-keygen', ['-y', '-f', privateFile], { env }).toString()
  rmSync(directory, { recursive: true })
  expect(derived.trim()).toBe(key.publicKey)
  const lines = said
    .split('\n')
    .slice(1, -1)
    .map((line) => line.trim())
  expect(lines).toEqual([
    'Type: ssh-ed25519-cert-v01@openssh.com user certificate',
    `Public key: ED25519-CERT ${sshFingerprint(key.publicKey)}`,
    `Signing CA: ED25519 ${sshFingerprint(ca.publicKey)} (using ssh-ed25519)`,
    'Key ID: "tms_1"',
    'Serial: 18446744073709551615',
    'Valid: from 2026-01-01T00:00:00 to 2026-01-01T00:05:00',
    'Principals:',
    'alc_1@node-1',
    'alc_2@node-1',
    'Critical Options: (none)',
    'Extensions:',
    'permit-pty',
  ])
})

test('a valid certificate logs in, and its bare key, another key or another authority do not', async () => {
  const valid = await login({})
  expect(valid.hostKeySha256).toBe(ssh.hostKeySha256)
  valid.close()
  await valid.closed
  const refused = { failure: 'REFUSED', code: 'UPSTREAM_UNAVAILABLE' }
  await expect(login({}, { bare: true })).rejects.toMatchObject(refused)
  await expect(login({}, { otherKey: true })).rejects.toMatchObject(refused)
  const stranger = newSshKeyPair().privateKey
  await expect(login({ caPrivateKey: stranger })).rejects.toMatchObject(refused)
  await expect(login({ validAfter: minutes(1), validBefore: minutes(2) })).rejects.toMatchObject(
    refused,
  )
  await expect(login({ validAfter: minutes(-2), validBefore: minutes(-1) })).rejects.toMatchObject(
    refused,
  )
})

test('a host key that is not the pinned one ends the connection before anything is said', async () => {
  const pinned = await login({}, { hostKeySha256: ssh.hostKeySha256 })
  pinned.close()
  const other = sshFingerprint(newSshKeyPair().publicKey)
  await expect(login({}, { hostKeySha256: other })).rejects.toMatchObject({
    failure: 'HOST_KEY_CHANGED',
  })
})

test('a certificate without permit-pty gets no terminal, and administration gets none at all', async () => {
  for (const extensions of [[], ['permit-pty']] as const) {
    const connection = await login({ extensions })
    const shell = connection.shell({ columns: 80, rows: 24, term: 'xterm' })
    await expect(shell).rejects.toMatchObject({ failure: 'CLOSED' })
    connection.close()
  }
})

test('exec gives status, output apart, and input to its end', async () => {
  const command = 'cat; echo wrong >&2; exit 3'
  const result = await ssh.exec(command, { ...options, stdin: 'in\n' })
  expect(result).toMatchObject({ code: 3, stdout: 'in\n' })
  expect(result.stderr).toMatch(/wrong\n$/)
  const big = 'x'.repeat(5_000_000)
  expect(await ssh.exec('wc -c', { ...options, stdin: big })).toMatchObject({ stdout: '5000000\n' })
})

test('exec is bounded in time and output, and the connection lives on', async () => {
  await expect(ssh.exec('sleep 9', { ...options, timeoutSeconds: 0.2 })).rejects.toMatchObject({
    failure: 'TIMEOUT',
  })
  await expect(ssh.exec('yes', options)).rejects.toMatchObject({ failure: 'OUTPUT_TOO_LARGE' })
  await expect(ssh.exec('kill -9 $$', options)).rejects.toMatchObject({ failure: 'CLOSED' })
  expect(await ssh.exec('echo on', options)).toMatchObject({ stdout: 'on\n' })
})

test('commands in flight fail when the node goes, and later ones at once', async () => {
  const connection = await login({})
  const running = connection.exec('echo $PPID; sleep 9', options)
  running.catch(() => {})
  const { stdout } = await connection.exec('echo $PPID', options)
  process.kill(Number(stdout), 'SIGKILL')
  await expect(running).rejects.toMatchObject({ failure: 'CLOSED' })
  await connection.closed
  await expect(connection.exec('true', options)).rejects.toMatchObject({ failure: 'CLOSED' })
  await expect(connection.shell({ columns: 1, rows: 1, term: 'x' })).rejects.toMatchObject({
    failure: 'CLOSED',
  })
})

test.each([
  ['says nothing', () => {}, 'TIMEOUT'],
  ['speaks HTTP', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'CLOSED'],
  ['hangs up', (socket: Socket) => socket.destroy(), 'CLOSED'],
  [
    'sends rubbish after its banner',
    (socket: Socket) => socket.write(`SSH-2.0-x\r\n${'\xff'.repeat(70_000)}`),
    'CLOSED',
  ],
])('a host that %s is a failure, not a crash', async (_what, behave, failure) => {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}))
    behave(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const connecting = connectSsh({
    target: { socket: connect((server.address() as AddressInfo).port, '127.0.0.1') },
    username: 'x',
    hostKeySha256: null,
    privateKey: newSshKeyPair().privateKey,
    timeoutSeconds: 0.5,
  })
  await expect(connecting).rejects.toMatchObject({ failure })
  for (const socket of sockets) socket.destroy()
  server.close()
})

describe('a shell', () => {
  const allocationId = `alc_${'0'.repeat(26)}`
  let user: SshConnection
  beforeAll(async () => {
    await nodeAccounts(ssh).create({
      allocationId,
      nodeName: node.name,
      gpuIndexes: [0],
      publicKeys: [],
    })
    user = await node.login('user', `${allocationId}@${node.name}`)
  })
  afterAll(() => user?.close())

  async function openShell() {
    const shell = await user.shell({ columns: 80, rows: 24, term: 'xterm' })
    const seen = { bytes: 0, tail: '' }
    shell.onOutput((chunk) => {
      seen.bytes += chunk.length
      seen.tail = (seen.tail + chunk).slice(-100)
    })
    return { shell, seen }
  }

  test('that is paused holds its output at the far end, and gives all of it when resumed', async () => {
    const { shell, seen } = await openShell()
    const count = 20_000_000
    const command = `stty -echo -onlcr; head -c ${count} /dev/zero; echo; echo d""one; exit\n`
    shell.write(Buffer.from(command), () => {})
    await eventually(() => seen.bytes).toBeGreaterThan(1_000_000)
    shell.pause()
    const paused = seen.bytes
    const before = process.memoryUsage().rss
    // The far end goes on only as far as the window lets it; then nothing more arrives.
    const { stdout } = await user.exec('echo same connection', options)
    expect(stdout).toBe('same connection\n')
    expect(seen.bytes).toBe(paused)
    expect(process.memoryUsage().rss - before).toBeLessThan(32_000_000)
    shell.resume()
    await shell.exited
    expect(seen.bytes).toBeGreaterThan(count)
    expect(seen.tail).toContain('done')
  })

  test('that does not echo takes a large paste whole, though sshd answers with large packets', async () => {
    const { shell, seen } = await openShell()
    const { stdout: sshd } = await user.exec('echo $PPID', options)
    const count = 4_000_000
    const piece = Buffer.from('0123456789abcde\n'.repeat(12_500))
    shell.write(Buffer.from(`stty -echo; echo g""o; head -c ${count} | wc -c; exit\n`), () => {})
    await eventually(() => seen.tail).toContain('go')
    for (let sent = 0; sent < count; sent += piece.length) {
      // sshd finds all of it at once, and passes it on in few writes.
      process.kill(Number(sshd), 'SIGSTOP')
      await new Promise<void>((done) => shell.write(piece, done))
      process.kill(Number(sshd), 'SIGCONT')
      await user.exec('true', options)
    }
    expect(await shell.exited).toEqual({ code: 0, signal: null })
    expect(seen.tail).toContain(`${count}\r\n`)
  })
})
