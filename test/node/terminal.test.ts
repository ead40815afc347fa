import { once } from 'node:events'
import { createCommandPort, handleCommand } from '@berth/platform/commands'
import { loadConfig } from '@berth/platform/config'
import { DomainError } from '@berth/platform/errors'
import { startHttp } from '@berth/platform/http'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics, type Metrics } from '@berth/platform/metrics'
import { createOneTimeTokens, type OneTimeTokens } from '@berth/platform/one-time-token'
import { closeRedis, createHints, openRedis, revocationChannel } from '@berth/platform/pubsub'
import { type Concern, revocationMessage } from '@berth/platform/revocations'
import type { SshConnection } from '@berth/platform/ssh'
import { signSshCertificate } from '@berth/platform/ssh-certificate'
import { testKeys, testRedis } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import * as allocations from '@berth/schema/commands/allocations'
import * as policy from '@berth/schema/commands/policy'
import { openTerminals } from '@berth/terminal/app'
import { terminalConfig } from '@berth/terminal/config'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { openTerminal, type TerminalOptions } from '../terminal-client.ts'
import { eventually } from './eventually.ts'
import { nodeAccounts } from './node-account.ts'
import { openTestNode, type TestNode } from './test-node.ts'

const ORIGIN = 'https://console.example.com'
const silent = createLog({ service: 'test', instance: 'test', level: 'silent' })
const shared = new AsyncDisposableStack()
let node: TestNode
let admin: SshConnection
let tokens: OneTimeTokens<allocations.TerminalToken>
let redisUrl: string
let keysDir: string
let peers: string
/** What allocations was asked: which sessions it opened, and how each ended. */
const opened: string[] = []
const closed = new Map<string, string>()
const allocationId = newId('alc')
const organizationId = newId('org')
/** Sessions whose allocation has stopped meanwhile. */
const stopped = new Set<string>()
/** What has changed of people's authority, and who may not go on by it; policy may be away. */
const concerns: Concern[] = []
const standings = new Map<string, 'SIGNED_OUT' | 'SHUT_OUT'>()
let isPolicyAway = false
let hint: (text: string) => Promise<void>

beforeAll(async () => {
  node = shared.adopt(await openTestNode(), (it) => it.remove())
  admin = shared.adopt(await node.login('node', `admin@${node.name}`), (it) => it.close())
  await nodeAccounts(admin).create({
    allocationId,
    nodeName: node.name,
    gpuIndexes: [0],
    publicKeys: [],
  })
  redisUrl = shared.use(await testRedis()).url
  keysDir = shared.use(testKeys(['terminal', 'allocations', 'policy'])).dir
  const redis = shared.adopt(openRedis(redisUrl, silent), closeRedis)
  const hints = shared.adopt(createHints(redis, silent), (it) => it.close())
  hint = (text) => hints.publish(revocationChannel(), text)
  tokens = createOneTimeTokens({
    redis,
    purpose: 'terminal',
    metrics: createMetrics({ service: 'test' }),
  })
  peers = JSON.stringify({
    allocations: [await standIn('allocations')],
    policy: [await standIn('policy')],
  })
}, 120_000)
afterAll(() => shared.disposeAsync())

/** Allocations and policy, as far as the terminal asks them, behind their real command port. */
async function standIn(service: 'allocations' | 'policy'): Promise<string> {
  const handlers = {
    allocations: [
      handleCommand(allocations.openTerminal, async ({ terminalSessionId }) => {
        if (stopped.has(terminalSessionId)) throw new DomainError('CONFLICT', 'It does not run.')
        opened.push(terminalSessionId)
        return {
          allocationId,
          organizationId,
          nodeId: newId('nod'),
          nodeName: node.name,
          host: node.host,
          port: node.port,
          username: node.username,
          hostKeyFingerprint: admin.hostKeySha256,
          principal: `${allocationId}@${node.name}`,
        }
      }),
      handleCommand(allocations.closeTerminal, async ({ terminalSessionId, reason }) => {
        closed.set(terminalSessionId, reason)
        return { closed: true }
      }),
    ],
    policy: [
      handleCommand(policy.readStanding, async ({ userId }) => {
        if (isPolicyAway) throw new DomainError('UNAVAILABLE', 'It is away.')
        const standing = standings.get(userId)
        if (standing) return { standing, roles: [] }
        return { standing: 'GOOD' as const, roles: ['member'] }
      }),
      handleCommand(policy.readGrants, async () => ({ granted: ['terminal:open'], dependent: [] })),
      handleCommand(policy.readRevocations, async ({ after }) => ({
        version: concerns.length,
        concerns: after === null ? [] : concerns.slice(after),
        isComplete: true,
      })),
      handleCommand(policy.signCertificate, async ({ publicKey, principal, ttlSeconds }) => {
        const expiresAt = new Date(Date.now() + ttlSeconds * 1_000)
        const certificate = signSshCertificate({
          caPrivateKey: node.authorities.user,
          publicKey,
          keyId: 'test',
          principals: [principal],
          validAfter: new Date(Date.now() - 60_000),
          validBefore: expiresAt,
          extensions: ['permit-pty'],
          serial: 1n,
        })
        return { certificate, expiresAt: expiresAt.toISOString() }
      }),
    ],
  }
  const metrics = createMetrics({ service })
  const { jwks } = loadKeys(keysDir, service)
  const routes = createCommandPort({ service, handlers: handlers[service], jwks, metrics })
  const http = await startHttp({
    host: '127.0.0.1',
    port: 0,
    log: silent,
    metrics,
    routes,
    drainSeconds: 1,
  })
  shared.defer(() => http.close())
  return http.url
}

let scope: AsyncDisposableStack
let metrics: Metrics
let url: string
beforeEach(async () => {
  await start()
})
afterEach(() => scope.disposeAsync())

async function start(change: Record<string, string> = {}): Promise<void> {
  await scope?.disposeAsync()
  scope = new AsyncDisposableStack()
  metrics = createMetrics({ service: 'terminal' })
  const config = loadConfig(terminalConfig, {
    BERTH_SERVICE: 'terminal',
    BERTH_INSTANCE: 'terminal-1',
    BERTH_ENV: 'test',
    PORT: '0',
    REDIS_URL: redisUrl,
    NATS_URL: 'nats://127.0.0.1:1',
    BERTH_KEYS_DIR: keysDir,
    BERTH_PEERS: peers,
    BERTH_DEVELOPMENT_NODE: `${node.host}:${node.port}`,
    BERTH_ALLOWED_ORIGINS: ORIGIN,
    ...change,
  })
  const { port } = await openTerminals(scope, { config, log: silent, metrics })
  url = `ws://127.0.0.1:${port}/terminal`
  const readyz = () => fetch(`http://127.0.0.1:${port}/readyz`).then((it) => it.status)
  await eventually(readyz).toBe(200)
}

async function mint(change: Partial<allocations.TerminalToken> = {}) {
  const record = {
    terminalSessionId: newId('tms'),
    allocationId,
    organizationId,
    userId: newId('usr'),
    credential: null,
    origin: null,
    ...change,
  }
  return { ...record, token: await tokens.mint(record, 60) }
}

async function openShell(options: Partial<TerminalOptions> = {}) {
  const { token, terminalSessionId, userId } = await mint()
  const terminal = await openTerminal({ url, token, ...options })
  return { terminal, terminalSessionId, userId }
}

/** As policy tells of it; the poll alone where the message is lost. */
async function change(concern: Concern, { isLost = false } = {}): Promise<void> {
  const after = concerns.length
  concerns.push(concern)
  if (!isLost) await hint(revocationMessage({ after, version: after + 1, concerns: [concern] }))
}

const metric = async (name: string, labels: Record<string, string> = {}) => {
  const values = (await metrics.registry.getSingleMetric(name)?.get())?.values ?? []
  return (
    values.find((it) => Object.entries(labels).every(([key, value]) => it.labels[key] === value))
      ?.value ?? 0
  )
}

describe('a shell', () => {
  test('echoes, runs in the allocation, resizes, and tells how it ended', async () => {
    const { terminal, terminalSessionId } = await openShell({ columns: 100, rows: 30 })
    expect(terminal.sessionId).toBe(terminalSessionId)
    terminal.write('echo "gpus:$CUDA_VISIBLE_DEVICES: $(stty size)"\n')
    await terminal.readUntil('gpus:0: 30 100')
    terminal.resize(132, 43)
    terminal.write('sleep 0.2; echo now $(stty size)\n')
    await terminal.readUntil('now 43 132')
    terminal.write('exit 7\n')
    expect(await terminal.exited).toEqual({ code: 7, signal: null })
    expect(await terminal.closed()).toBe(1_000)
    await eventually(() => closed.get(terminalSessionId)).toBe('EXIT')
    expect(await metric('berth_terminal_sessions')).toBe(0)
    expect(await metric('berth_terminal_ended_total', { reason: 'EXIT' })).toBe(1)
  })

  test('is hung up when the client closes', async () => {
    const { terminal, terminalSessionId } = await openShell()
    terminal.write('echo pid:$$:\n')
    const [, pid] = /pid:(\d+):/.exec(await terminal.readUntil(/pid:\d+:/)) ?? []
    await terminal.close()
    await eventually(() => closed.get(terminalSessionId)).toBe('CLIENT')
    await eventually(() => nodeAccounts(admin).verify(allocationId)).toMatchObject({ processes: 0 })
    expect(pid).toBeDefined()
  })

  test('takes the token as a subprotocol too, and not twice', async () => {
    const { token } = await mint({ origin: ORIGIN })
    const terminal = await openTerminal({ url, token, origin: ORIGIN, tokenAsSubprotocol: true })
    terminal.write('echo sub""protocol\n')
    await terminal.readUntil('subprotocol')
    await terminal.close()
    await expect(
      openTerminal({ url, token, origin: ORIGIN, tokenAsSubprotocol: true }),
    ).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      closeCode: 4_401,
    })
  })

  test('megabytes in and out arrive whole', async () => {
    const { terminal } = await openShell()
    terminal.write('stty raw -echo; echo ready; head -c 3000000 | sha256sum; exit\n')
    await terminal.readUntil('ready')
    terminal.write(Buffer.alloc(3_000_000, 'berth\n'))
    const { createHash } = await import('node:crypto')
    await terminal.readUntil(
      createHash('sha256').update(Buffer.alloc(3_000_000, 'berth\n')).digest('hex'),
    )
  })
})

describe('the token', () => {
  test('of 100 connections with one token, one gets a shell', async () => {
    const { token, terminalSessionId } = await mint()
    const results = await Promise.allSettled(
      Array.from({ length: 100 }, () => openTerminal({ url, token })),
    )
    const winners = results.filter((it) => it.status === 'fulfilled')
    expect(winners).toHaveLength(1)
    for (const it of results) {
      if (it.status === 'rejected') expect(it.reason).toMatchObject({ code: 'UNAUTHENTICATED' })
    }
    expect(opened.filter((it) => it === terminalSessionId)).toHaveLength(1)
    expect(await metric('berth_one_time_tokens_total', { outcome: 'consumed_ok' })).toBe(1)
    expect(await metric('berth_one_time_tokens_total', { outcome: 'replay_rejected' })).toBe(99)
    await winners[0]?.value.close()
  })

  test.each([
    ['a browser with a token for programs', null, ORIGIN, 'FORBIDDEN', 4_403],
    ['a program with a token for browsers', ORIGIN, undefined, 'FORBIDDEN', 4_403],
    [
      'a browser with another page’s token',
      'https://other.example.com',
      ORIGIN,
      'FORBIDDEN',
      4_403,
    ],
    [
      'a page that is not allowed',
      'https://evil.example',
      'https://evil.example',
      'HTTP 403',
      1_006,
    ],
    ['a page without an origin of its own', 'null', 'null', 'HTTP 403', 1_006],
  ])('%s is refused', async (_who, tokenOrigin, origin, code, closeCode) => {
    const { token, terminalSessionId } = await mint({ origin: tokenOrigin })
    const opening = openTerminal({ url, token, ...(origin !== undefined && { origin }) })
    await expect(opening).rejects.toMatchObject({ code, closeCode })
    expect(opened).not.toContain(terminalSessionId)
  })

  test('in the URL is refused before it is used', async () => {
    const { token } = await mint()
    await expect(openTerminal({ url: `${url}?token=${token}`, token })).rejects.toMatchObject({
      code: 'HTTP 400',
    })
    const terminal = await openTerminal({ url, token })
    await terminal.close()
  })

  test('for an allocation that has stopped says so, and allocations hears that it ended', async () => {
    const { token, terminalSessionId } = await mint()
    stopped.add(terminalSessionId)
    await expect(openTerminal({ url, token })).rejects.toMatchObject({ code: 'CONFLICT' })
    await eventually(() => closed.get(terminalSessionId)).toBe('ERROR')
  })

  test('of another allocation than the one that is opened gets no shell, and no reason', async () => {
    const { token } = await mint({ allocationId: newId('alc') })
    await expect(openTerminal({ url, token })).rejects.toMatchObject({ code: 'INTERNAL' })
  })
})

describe('whoever may not go on', () => {
  afterEach(() => {
    isPolicyAway = false
  })

  test.each([
    ['told', false],
    ['told by nobody, the message being lost', true],
  ])('is %s: the shell ends, its processes with it, and others go on', async (_how, isLost) => {
    const { terminal, terminalSessionId, userId } = await openShell()
    const other = await openShell()
    terminal.write('sleep 1000 & echo star""ted\n')
    await terminal.readUntil('started')
    standings.set(userId, 'SHUT_OUT')
    await change({ kind: 'person', id: userId }, { isLost })
    expect(await terminal.closed()).toBe(4_403)
    await eventually(() => closed.get(terminalSessionId)).toBe('REVOKED')
    await expect(terminal.resume()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    other.terminal.write('echo st""ill\n')
    await other.terminal.readUntil('still')
    await other.terminal.close()
    await eventually(() => nodeAccounts(admin).verify(allocationId)).toMatchObject({ processes: 0 })
    expect(await metric('berth_terminal_ended_total', { reason: 'REVOKED' })).toBe(1)
  })

  test('and has signed out is told to sign in', async () => {
    const { token, userId, credential } = await mint({ credential: newId('ses') })
    const terminal = await openTerminal({ url, token })
    standings.set(userId, 'SIGNED_OUT')
    await change({ kind: 'credential', id: String(credential) })
    expect(await terminal.closed()).toBe(4_401)
  })

  test('between the token and the shell gets none', async () => {
    const { token, userId, terminalSessionId } = await mint()
    standings.set(userId, 'SHUT_OUT')
    await expect(openTerminal({ url, token })).rejects.toMatchObject({
      code: 'FORBIDDEN',
      closeCode: 4_403,
    })
    expect(opened).not.toContain(terminalSessionId)
    await eventually(() => closed.get(terminalSessionId)).toBe('ERROR')
  })

  test('is found out once policy answers again', async () => {
    const { terminal, userId } = await openShell()
    isPolicyAway = true
    standings.set(userId, 'SHUT_OUT')
    await change({ kind: 'person', id: userId })
    terminal.write('echo in dou""bt\n')
    await terminal.readUntil('in doubt')
    isPolicyAway = false
    expect(await terminal.closed()).toBe(4_403)
  })
})

describe('resume', () => {
  const LINES = 1_000_000

  test('output and input go on byte-exact over many lost connections', async () => {
    const { terminal } = await openShell()
    terminal.write(
      `stty -onlcr -echo; echo go; seq 1 ${LINES}; head -c 500000 | sha256sum; exit 3\n`,
    )
    await terminal.readUntil('go\n')
    const lines = Array.from({ length: LINES }, (_, index) => index + 1).join('\n')
    let losses = 0
    for (let at = 0; at < lines.length; at = terminal.output.length) {
      const next = Math.min(at + 300_000, lines.length)
      await eventually(() => terminal.output.length, { interval: 2 }).toBeGreaterThanOrEqual(next)
      terminal.drop()
      await terminal.closed()
      await terminal.resume()
      losses++
    }
    expect(losses).toBeGreaterThan(3)
    await terminal.readUntil(`${LINES}\n`)
    expect(terminal.output.toString()).toContain(`go\n${lines}\n`)

    const input = Buffer.from(`${'0123456789abcde\n'.repeat(31_250)}`)
    for (let at = 0; at < input.length; at += 100_000) {
      terminal.write(input.subarray(at, at + 100_000))
      terminal.drop()
      await terminal.closed()
      await terminal.resume()
    }
    const { createHash } = await import('node:crypto')
    await terminal.readUntil(createHash('sha256').update(input).digest('hex'))
    expect(await terminal.exited).toEqual({ code: 3, signal: null })
  })

  test('what happens while nobody is connected is told afterwards, the end included', async () => {
    const { terminal, terminalSessionId } = await openShell()
    terminal.write('echo star""ted; sleep 0.3; echo la""st; exit 4\n')
    await terminal.readUntil('started')
    terminal.drop()
    await terminal.closed()
    await eventually(() => nodeAccounts(admin).verify(allocationId)).toMatchObject({ processes: 0 })
    await terminal.resume()
    await terminal.readUntil('last')
    expect(await terminal.exited).toEqual({ code: 4, signal: null })
    await eventually(() => closed.get(terminalSessionId)).toBe('EXIT')
  })

  test('from the beginning redraws a page that was loaded anew', async () => {
    const { terminal } = await openShell()
    terminal.write('echo draw""n\n')
    await terminal.readUntil('drawn')
    terminal.drop()
    const ready = await terminal.resume({ offset: null })
    expect(ready.outputOffset).toBe(0)
    await terminal.readUntil('drawn')
    await terminal.close()
  })

  test('a second connection takes over, and the first is told', async () => {
    const { terminal } = await openShell()
    terminal.write('echo on""e\n')
    await terminal.readUntil('one')
    const first = terminal.closed()
    await terminal.resume()
    expect(await first).toBe(4_410)
    terminal.write('echo tw""o\n')
    await terminal.readUntil('two')
    await terminal.close()
  })

  test('needs the secret, the session and an offset that is kept', async () => {
    const { terminal, terminalSessionId } = await openShell()
    terminal.write('stty -onlcr; seq 1 200000; echo e""nd\n')
    await terminal.readUntil('end')
    const attempt = (content: object) => firstFrame(8, content)
    const secret = 'x'.repeat(43)
    expect(await attempt({ sessionId: terminalSessionId, secret, offset: 0 })).toMatchObject({
      code: 'NOT_FOUND',
      close: 4_404,
    })
    expect(await attempt({ sessionId: newId('tms'), secret, offset: 0 })).toMatchObject({
      code: 'NOT_FOUND',
    })
    terminal.drop()
    await terminal.closed()
    for (const offset of [0, 1e12]) {
      await expect(terminal.resume({ offset })).rejects.toMatchObject({
        code: 'STREAM_RESET',
        closeCode: 4_420,
      })
    }
    const ready = await terminal.resume({ offset: null })
    expect(ready.outputOffset).toBeGreaterThan(0)
    await terminal.readUntil('end')
    await terminal.close()
    await expect(terminal.resume()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('is over after its time, and the shell with it', async () => {
    await start({ BERTH_TERMINAL_RESUME_SECONDS: '1' })
    const { terminal, terminalSessionId } = await openShell()
    terminal.drop()
    await eventually(() => closed.get(terminalSessionId)).toBe('CLIENT')
    await expect(terminal.resume()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('a client that stalls', () => {
  test('without acknowledging is sent one window, and then the shell waits', async () => {
    const { terminal } = await openShell({ acknowledge: false })
    terminal.write('head -c 100000000 /dev/zero\n')
    await eventually(() => terminal.output.length).toBeGreaterThanOrEqual(256 * 1_024)
    const { port } = new URL(url)
    await fetch(`http://127.0.0.1:${port}/healthz`)
    expect(terminal.output.length).toBe(256 * 1_024)
    await terminal.close()
  })

  test('without reading from the network costs bounded memory, twenty times over', async () => {
    const before = process.memoryUsage().rss
    const stalled = await Promise.all(Array.from({ length: 20 }, () => openShell()))
    for (const { terminal } of stalled) {
      terminal.write('head -c 100000000 /dev/zero\n')
      await terminal.readUntil('\0')
      terminal.pause()
    }
    const bytes = () => metric('berth_terminal_bytes_total', { direction: 'output' })
    let last = -1
    await eventually(
      async () => {
        const isQuiet = last === (await bytes())
        last = await bytes()
        return isQuiet
      },
      { interval: 300 },
    ).toBe(true)
    expect(last).toBeLessThan(20 * 4_000_000)
    expect(process.memoryUsage().rss - before).toBeLessThan(20 * 8_000_000)
    for (const { terminal } of stalled) terminal.drop()
  })
})

describe('what is not in the protocol is refused clearly', () => {
  const open = { columns: 80, rows: 24 }
  test.each<[string, Uint8Array | string]>([
    ['a text message', 'hello'],
    ['an empty frame', Buffer.alloc(0)],
    ['input before a session', Buffer.from([0, 65])],
    ['a channel of the server', Buffer.from([1, 65])],
    ['an unknown channel', Buffer.from([200])],
    ['an open frame that is not JSON', Buffer.from([7, 123])],
    ['an open frame without token', json(7, open)],
    ['an unknown field', json(7, { ...open, token: 'x', admin: true })],
    ['a size of nothing', json(7, { token: 'x', columns: 0, rows: 24 })],
    ['a terminal type that is no word', json(7, { ...open, token: 'x', term: '$(id)' })],
    ['a resume without secret', json(8, { sessionId: 'tms_1', offset: 0 })],
  ])('%s', async (_what, frame) => {
    expect(await answerTo(frame)).toMatchObject({ code: 'BAD_INPUT', close: 4_400 })
  })

  test('a token that was never minted', async () => {
    expect(await firstFrame(7, { ...open, token: 'x' })).toMatchObject({
      code: 'UNAUTHENTICATED',
      close: 4_401,
    })
  })

  test('a frame beyond the limit', async () => {
    expect(await answerTo(Buffer.alloc(70_000))).toMatchObject({ close: 1_009 })
  })

  test.each<[string, Uint8Array]>([
    ['half a size', Buffer.from([3, 0, 80])],
    ['a size of nothing', Buffer.from([3, 0, 0, 0, 24])],
    ['half an acknowledgement', Buffer.from([4, 0])],
    ['an acknowledgement of what was not sent', Buffer.from([4, 0, 0, 1, 0, 0, 0, 0, 0])],
    ['an acknowledgement beyond numbers', Buffer.alloc(9, 0xff).fill(4, 0, 1)],
    ['a second opening', json(7, { ...open, token: 'x' })],
    ['a close with content', Buffer.from([5, 1])],
  ])('%s, within a session', async (_what, frame) => {
    const { terminal } = await openShell()
    terminal.send(frame)
    await expect(terminal.exited).rejects.toMatchObject({ code: 'BAD_INPUT', closeCode: 4_400 })
    // A mistake in one frame does not cost the shell.
    await terminal.resume()
    terminal.write('echo still""here\n')
    await terminal.readUntil('stillhere')
    await terminal.close()
  })

  test('input beyond its window', async () => {
    const { terminal } = await openShell()
    terminal.write('sleep 5\n')
    const frame = Buffer.alloc(60_000)
    for (let times = 0; times < 100; times++) terminal.send(frame)
    await expect(terminal.exited).rejects.toMatchObject({ code: 'BAD_INPUT' })
  })

  test('another subprotocol, another path', async () => {
    const statuses = [
      [new WebSocket(url, 'graphql-transport-ws'), 400],
      [new WebSocket(url), 400],
      [new WebSocket(url.replace('/terminal', '/graphql'), 'berth.terminal.v1'), 404],
    ] as const
    for (const [socket, status] of statuses) {
      socket.on('error', () => {})
      const [, response] = await once(socket, 'unexpected-response')
      expect(response.statusCode).toBe(status)
      socket.terminate()
    }
  })

  async function answerTo(frame: Uint8Array | string) {
    const socket = new WebSocket(url, 'berth.terminal.v1')
    await once(socket, 'open')
    let error = {}
    socket.on('message', (data: Buffer) => {
      if (data[0] === 6) error = JSON.parse(data.subarray(1).toString())
    })
    socket.send(frame)
    const [close] = await once(socket, 'close')
    return { ...error, close }
  }
})

describe('limits', () => {
  test('a full process sheds before it takes the token, which is good once there is room', async () => {
    await start({ BERTH_TERMINAL_MAX_SESSIONS: '2' })
    const first = await openShell()
    await openShell()
    const { token } = await mint()
    await expect(openTerminal({ url, token })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      closeCode: 4_503,
    })
    expect(await metric('berth_terminal_shed_total', { reason: 'full' })).toBe(1)
    await first.terminal.close()
    const terminal = await openTerminal({ url, token })
    await terminal.close()
  })

  test('a user has so many sessions and no more', async () => {
    await start({ BERTH_TERMINAL_MAX_SESSIONS_PER_USER: '1' })
    const userId = newId('usr')
    const first = await openTerminal({ url, token: (await mint({ userId })).token })
    await expect(
      openTerminal({ url, token: (await mint({ userId })).token }),
    ).rejects.toMatchObject({ code: 'QUOTA_EXCEEDED' })
    const { terminal } = await openShell()
    await Promise.all([first.close(), terminal.close()])
  })

  test('attempts are limited by address', async () => {
    await using redis = await testRedis()
    const rate = { BERTH_TERMINAL_RATE_PER_MINUTE: '1', BERTH_TERMINAL_RATE_BURST: '3' }
    await start({ ...rate, REDIS_URL: redis.url })
    const codes = []
    for (let times = 0; times < 5; times++) {
      codes.push(await openTerminal({ url, token: 'x' }).then(String, (error) => error.code))
    }
    expect(codes).toContain('RATE_LIMITED')
  })

  test.each([
    ['BERTH_TERMINAL_IDLE_SECONDS', 'IDLE'],
    ['BERTH_TERMINAL_MAX_SECONDS', 'MAX_DURATION'],
  ])('%s ends the session', async (variable, reason) => {
    await start({ [variable]: '1' })
    const { terminal, terminalSessionId } = await openShell()
    await expect(terminal.exited).rejects.toMatchObject({ code: 'TIMEOUT', closeCode: 4_504 })
    await eventually(() => closed.get(terminalSessionId)).toBe(reason)
  })
})

test('draining tells every client, and allocations, and admits nobody more', async () => {
  const { terminal, terminalSessionId } = await openShell()
  const draining = scope.disposeAsync()
  await expect(terminal.exited).rejects.toMatchObject({ code: 'UNAVAILABLE', closeCode: 1_001 })
  await draining
  expect(closed.get(terminalSessionId)).toBe('DRAIN')
  await expect(openTerminal({ url, token: 'x' })).rejects.toBeDefined()
  await eventually(() => nodeAccounts(admin).verify(allocationId)).toMatchObject({ processes: 0 })
})

test('a shell that is killed on the node tells so', async () => {
  const { terminal } = await openShell()
  terminal.write('kill -9 $$\n')
  expect(await terminal.exited).toEqual({ code: null, signal: 'SIGKILL' })
})

test('a node that is lost is an error, told to the client and to allocations', async () => {
  const { terminal, terminalSessionId } = await openShell()
  // The parent of the shell is the sshd of this one connection.
  terminal.write('echo sshd:$PPID:\n')
  const [, sshd] = /sshd:(\d+):/.exec(await terminal.readUntil(/sshd:\d+:/)) ?? []
  process.kill(Number(sshd), 'SIGKILL')
  await expect(terminal.exited).rejects.toMatchObject({
    code: 'UPSTREAM_UNAVAILABLE',
    closeCode: 4_502,
  })
  await eventually(() => closed.get(terminalSessionId)).toBe('ERROR')
})

function json(channel: number, content: object): Buffer {
  return Buffer.concat([Buffer.from([channel]), Buffer.from(JSON.stringify(content))])
}

async function firstFrame(channel: number, content: object) {
  const socket = new WebSocket(url, 'berth.terminal.v1')
  await once(socket, 'open')
  let error = {}
  socket.on('message', (data: Buffer) => {
    if (data[0] === 6) error = JSON.parse(data.subarray(1).toString())
  })
  socket.send(json(channel, content))
  const [close] = await once(socket, 'close')
  return { ...error, close }
}
