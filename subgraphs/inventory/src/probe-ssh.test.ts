import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import type { CommandClient } from '@berth/platform/commands'
import { createDialGuard } from '@berth/platform/dial-guard'
import { DomainError } from '@berth/platform/errors'
import { serverAccount } from '@berth/platform/servers/account'
import { acquireTestServers } from '@berth/platform/servers/test-servers'
import { newSshKeyPair, signSshCertificate, sshFingerprint } from '@berth/platform/ssh-certificate'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { ProbeNotMade, type ProbeTarget } from './probe.ts'
import { sshNodeProbe } from './probe-ssh.ts'

// A real sshd that believes certificates, with a stand-in for nvidia-smi that prints a real answer.

const HOST = '127.0.0.1'
const authority = newSshKeyPair()
const hostKey = newSshKeyPair()
const account = serverAccount()
let directory: string
let port: number
let sshd: ChildProcess

beforeAll(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'berth-probe-'))
  chmodSync(directory, 0o711)
  port = await freePort()
  const trusted = `cert-authority,restrict,principals="admin@one" ${authority.publicKey}\n`
  write('host_key', hostKey.privateKey)
  write('authorized_keys', trusted)
  write(
    'sshd_config',
    `Port ${port}\nListenAddress ${HOST}\nHostKey ${directory}/host_key\nPidFile none\n` +
      `AuthorizedKeysFile ${directory}/authorized_keys\nUsePAM no\nStrictModes no\n` +
      `SetEnv "PATH=${directory}:/usr/bin:/bin"\n`,
  )
  const { file, env } = (await acquireTestServers()).sshd
  sshd = spawn(file, ['-D', '-e', '-f', `${directory}/sshd_config`], {
    ...account,
    cwd: '/',
    env,
    stdio: 'ignore',
  })
  const guard = dialGuard()
  await vi.waitFor(
    async () => (await guard.connect(HOST, port, { timeoutMs: 1_000 })).destroy(),
    10_000,
  )
})
beforeEach(() => nvidiaSmi(`cat ${directory}/gpu.xml`))
afterAll(async () => {
  const ended = once(sshd, 'exit')
  sshd.kill()
  await ended
  rmSync(directory, { recursive: true, force: true })
})

function write(name: string, text: string, mode = 0o600): void {
  const file = path.join(directory, name)
  writeFileSync(file, text)
  chmodSync(file, mode)
  if (account) chownSync(file, account.uid, account.gid)
}

function nvidiaSmi(script: string): void {
  const xml = new URL('../test-data/rtx-4000-sff-ada-v13.xml', import.meta.url)
  write('gpu.xml', readFileSync(xml, 'utf8'))
  write('nvidia-smi', `#!/bin/sh\n[ "$*" = '-q -x' ] || exit 2\n${script}\n`, 0o755)
}

const dialGuard = () =>
  createDialGuard({ allowedCidrs: [], exceptions: [`${HOST}:${port}`], production: false })

/** Signs as policy does. */
const policy: CommandClient = {
  async call(_contract, input) {
    const { publicKey, principal } = input as { publicKey: string; principal: string }
    const certificate = signSshCertificate({
      caPrivateKey: authority.privateKey,
      publicKey,
      keyId: 'test',
      principals: [principal],
      validAfter: new Date(Date.now() - 60_000),
      validBefore: new Date(Date.now() + 60_000),
      extensions: [],
      serial: 1n,
    })
    return { certificate, expiresAt: new Date().toISOString() } as never
  },
}

function target(given: Partial<ProbeTarget> = {}): ProbeTarget {
  const username = account ? nameOf(account.uid) : userInfo().username
  return { name: 'one', host: HOST, port, username, hostKeyFingerprint: null, ...given }
}

function nameOf(uid: number): string {
  return execFileSync('id', ['-un', String(uid)])
    .toString()
    .trim()
}

const look = (given?: Partial<ProbeTarget>, commands = policy) =>
  sshNodeProbe({ dial: dialGuard(), commands }).probe(target(given))

test('a node is logged in to, and its GPUs and host key are reported', async () => {
  const result = await look()
  expect(result).toMatchObject({
    ok: true,
    hostKeyFingerprint: sshFingerprint(hostKey.publicKey),
    report: {
      driverVersion: '595.84',
      gpus: [{ uuid: 'GPU-37037c3f-65c8-ec4d-24a9-420204ad8026', memoryMib: 20475 }],
    },
  })
  expect(result.latencyMs).toBeGreaterThanOrEqual(0)
  const hostKeyFingerprint = sshFingerprint(hostKey.publicKey)
  expect(await look({ hostKeyFingerprint })).toMatchObject({ ok: true })
})

test('a node with another host key than the pinned one is not logged in to', async () => {
  nvidiaSmi(`touch ${directory}/was-run; cat ${directory}/gpu.xml`)
  const hostKeyFingerprint = sshFingerprint(newSshKeyPair().publicKey)
  expect(await look({ hostKeyFingerprint })).toMatchObject({
    ok: false,
    problem: 'HOST_KEY_CHANGED',
  })
  expect(() => readFileSync(`${directory}/was-run`)).toThrow('ENOENT')
})

test('a certificate for another node opens nothing', async () => {
  expect(await look({ name: 'two' })).toMatchObject({ ok: false, problem: 'LOGIN_REFUSED' })
})

test.each([
  ['fails', 'echo "NVIDIA-SMI has failed"; exit 9', 'NO_DRIVER'],
  ['is not there', 'exit 127', 'NO_DRIVER'],
  ['prints something else', 'echo hello', 'NO_DRIVER'],
  [
    'knows no GPU',
    'echo "<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>"',
    'NO_GPU',
  ],
  ['prints without end', 'yes', 'NO_ANSWER'],
])('a node whose nvidia-smi %s is told of', async (_name, script, problem) => {
  nvidiaSmi(script)
  expect(await look()).toMatchObject({ ok: false, problem })
})

test('an address that may not be dialed is not', async () => {
  for (const given of [{ port: port + 1 }, { host: 'localhost' }, { host: '169.254.169.254' }]) {
    expect(await look(given)).toEqual({ ok: false, latencyMs: null, problem: 'BAD_TARGET' })
  }
})

test('a port where nobody answers is a miss', async () => {
  const closed = await freePort()
  const guard = createDialGuard({
    allowedCidrs: [],
    exceptions: [`${HOST}:${closed}`],
    production: false,
  })
  const probe = sshNodeProbe({ dial: guard, commands: policy })
  expect(await probe.probe(target({ port: closed }))).toEqual({
    ok: false,
    latencyMs: null,
    problem: 'NO_ANSWER',
  })
})

test('without a certificate no probe is made', async () => {
  const down: CommandClient = {
    call: () => Promise.reject(new DomainError('UPSTREAM_UNAVAILABLE', 'policy is away')),
  }
  await expect(look({}, down)).rejects.toThrow(ProbeNotMade)
})

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer().once('error', fail)
    server.listen(0, HOST, () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
