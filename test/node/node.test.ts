import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDialGuard } from '@berth/platform/dial-guard'
import { connectSsh } from '@berth/platform/ssh'
import { newSshKeyPair, signSshCertificate } from '@berth/platform/ssh-certificate'
import { afterEach, expect, test } from 'vitest'
import { descendantsOf } from './processes.ts'
import { freePort, loginName } from './test-node.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** main.ts as the supervisor runs it, against a stand-in for policy's public route. */
async function openProcess() {
  const authorities = { user: newSshKeyPair(), node: newSshKeyPair() }
  const policy = createServer((request, response) => {
    const body = { user: authorities.user.publicKey, node: authorities.node.publicKey }
    response.writeHead(request.url === '/ssh/authorities' ? 200 : 404).end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(policy, 'listening')
  cleanups.push(() => policy.close())
  const directory = mkdtempSync(join(tmpdir(), 'berth-node-'))
  chmodSync(directory, 0o711)
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }))

  const port = await freePort()
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    BERTH_HOME: process.env.BERTH_HOME,
    BERTH_SERVICE: 'development-node',
    BERTH_INSTANCE: 'development-node-1',
    BERTH_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: String(port),
    REDIS_URL: 'redis://127.0.0.1:1',
    NATS_URL: 'nats://127.0.0.1:1',
    BERTH_KEYS_DIR: directory,
    BERTH_PEERS: JSON.stringify({
      policy: [`http://127.0.0.1:${(policy.address() as AddressInfo).port}`],
    }),
    BERTH_STATE_DIR: directory,
  }
  function start() {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
    cleanups.push(() => child.kill('SIGKILL'))
    const ready = new Promise<void>((done, fail) => {
      child.stdout.on('data', (chunk) => String(chunk).includes('answers') && done())
      void exited.then(() => fail(new Error('it ended')))
    })
    ready.catch(() => {})
    return {
      pid: child.pid ?? 0,
      kill: (signal: NodeJS.Signals) => child.kill(signal),
      ready,
      exited,
    }
  }
  const guard = createDialGuard({
    allowedCidrs: [],
    exceptions: [`127.0.0.1:${port}`],
    production: false,
  })
  function login(hostKeySha256: string | null = null) {
    const key = newSshKeyPair()
    const certificate = signSshCertificate({
      caPrivateKey: authorities.node.privateKey,
      publicKey: key.publicKey,
      keyId: 'test',
      principals: ['admin@development'],
      validAfter: new Date(Date.now() - 60_000),
      validBefore: new Date(Date.now() + 60_000),
      extensions: [],
      serial: 1n,
    })
    return connectSsh({
      target: { host: '127.0.0.1', port, dial: guard.connect },
      username: loginName(),
      hostKeySha256,
      privateKey: key.privateKey,
      certificate,
      timeoutSeconds: 5,
    })
  }
  return { start, login }
}

test('SIGTERM ends sshd and its sessions', async () => {
  const { start, login } = await openProcess()
  const main = start()
  await main.ready
  const ssh = await login()
  expect(descendantsOf(main.pid).length).toBeGreaterThan(1)
  main.kill('SIGTERM')
  expect(await main.exited).toEqual({ code: 0, signal: null })
  await ssh.closed
  await expect(login()).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
})

test('after kill -9 the next start replaces the orphan and keeps the host key', async () => {
  const { start, login } = await openProcess()
  const killed = start()
  await killed.ready
  const before = await login()
  const [orphan = 0] = descendantsOf(killed.pid)
  killed.kill('SIGKILL')
  await killed.exited
  expect((await login()).hostKeySha256).toBe(before.hostKeySha256)

  const next = start()
  await next.ready
  await before.closed
  expect(descendantsOf(next.pid)).not.toContain(orphan)
  const after = await login(before.hostKeySha256)
  expect(after.hostKeySha256).toBe(before.hostKeySha256)
  next.kill('SIGTERM')
  await next.exited
})

test('when sshd dies the process ends with a failure, to be started anew', async () => {
  const { start } = await openProcess()
  const main = start()
  await main.ready
  const [sshd = 0] = descendantsOf(main.pid)
  process.kill(sshd, 'SIGKILL')
  expect(await main.exited).toEqual({ code: 1, signal: null })
})
