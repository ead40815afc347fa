import { type Actor, createActor } from '@berth/platform/actor'
import { createCommandClient } from '@berth/platform/commands'
import { idToUuid, newId, parseId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createOneTimeTokens } from '@berth/platform/one-time-token'
import { createPeers } from '@berth/platform/peers'
import { closeRedis, openRedis } from '@berth/platform/pubsub'
import { loadKeys } from '@berth/platform/trusted-keys'
import { closeTerminal, openTerminal, type TerminalToken } from '@berth/schema/commands/allocations'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { create, RELEASE, stateOf, withKey } from '../testing/documents.ts'
import { type Installation, install, memberOf } from '../testing/service.ts'

const OPEN = `mutation ($id: ID!, $origin: String) {
  terminalSessionCreate(input: { allocationId: $id, origin: $origin }) {
    token terminalSession { id url expiresAt allocation { id state } } } }`
const ORIGIN = 'https://console.test'

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

async function running(actor: Actor): Promise<string> {
  it.neighbours.addNode(1)
  const id = await create(service, actor)
  await expect.poll(() => stateOf(service, actor, id)).toBe('RUNNING')
  return id
}

/** What the terminal does: takes the token, then asks where to go. */
function terminal() {
  const log = createLog({ service: 'terminal', instance: 'test', level: 'silent' })
  const metrics = createMetrics({ service: 'terminal' })
  const redis = scope.adopt(openRedis(it.redis.url, log), closeRedis)
  const { privateJwk } = loadKeys(it.keysDir, 'terminal')
  const peers = scope.adopt(createPeers({ allocations: [service.url] }), (peer) => peer.close())
  const commands = createCommandClient({ service: 'terminal', privateJwk, peers, metrics })
  const tokens = createOneTimeTokens<TerminalToken>({ redis, purpose: 'terminal', metrics })
  return { commands, tokens }
}

test('a terminal is opened once by its token, for its allocation, person and origin', async () => {
  const actor = memberOf()
  const id = await running(actor)
  const { data } = await service.ask(actor, OPEN, { id, origin: ORIGIN })
  const { token, terminalSession } = data.terminalSessionCreate
  expect(terminalSession).toMatchObject({
    url: 'ws://terminal.test',
    allocation: { id, state: 'RUNNING' },
  })
  const lifeSeconds = (Date.parse(terminalSession.expiresAt) - Date.now()) / 1_000
  expect(lifeSeconds).toBeGreaterThan(55)
  expect(lifeSeconds).toBeLessThanOrEqual(60)
  const { tokens, commands } = terminal()
  const record = await tokens.take(token)
  expect(record).toEqual({
    terminalSessionId: terminalSession.id,
    allocationId: id,
    organizationId: actor.organizationId,
    userId: actor.subject,
    credential: null,
    origin: ORIGIN,
  })
  expect(await tokens.take(token)).toBeNull()

  const input = { terminalSessionId: terminalSession.id }
  const opened = await commands.call(openTerminal, input, { commandId: newId('cmd'), actor })
  expect(opened).toMatchObject({ allocationId: id, host: '192.0.2.10', username: 'berth' })
  expect(opened.principal).toBe(`${id}@${opened.nodeName}`)
  // The token is nowhere in the database.
  const tables = ['terminal_sessions', 'audit_events', 'outbox', 'idempotency_keys']
  for (const table of tables) {
    const rows = await it.admin.query<{ text: string }>(
      `SELECT it::text AS text FROM ${table} AS it`,
    )
    expect(rows.filter((row) => row.text.includes(token))).toEqual([])
  }

  const stranger = memberOf()
  await expect(
    commands.call(openTerminal, input, { commandId: newId('cmd'), actor: stranger }),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  const close = () =>
    commands.call(closeTerminal, { ...input, reason: 'EXIT' }, { commandId: newId('cmd') })
  expect(await close()).toEqual({ closed: true })
  expect(await close()).toEqual({ closed: false })
  await expect(
    commands.call(openTerminal, input, { commandId: newId('cmd'), actor }),
  ).rejects.toMatchObject({ code: 'CONFLICT' })
})

test('an Idempotency-Key is refused: no token is kept to tell again, and no session is left', async () => {
  const actor = memberOf()
  const id = await running(actor)
  const { errors } = await service.ask(actor, OPEN, { id }, withKey())
  expect(errors?.[0]).toMatchObject({
    message: expect.stringContaining('takes no Idempotency-Key'),
    extensions: { code: 'BAD_INPUT' },
  })
  const sessions = await it.admin.query(
    'SELECT 1 FROM terminal_sessions WHERE allocation_id = $1::uuid',
    [idToUuid(parseId('alc', id))],
  )
  expect(sessions).toEqual([])
  expect((await service.ask(actor, OPEN, { id })).errors).toBeUndefined()
})

test('a token that was minted before the release opens nothing after it', async () => {
  const actor = memberOf()
  const id = await running(actor)
  const { data } = await service.ask(actor, OPEN, { id })
  await service.ask(actor, RELEASE, { id })
  const { commands } = terminal()
  const { terminalSession } = data.terminalSessionCreate
  await expect(
    commands.call(
      openTerminal,
      { terminalSessionId: terminalSession.id },
      { commandId: newId('cmd'), actor },
    ),
  ).rejects.toMatchObject({ code: 'CONFLICT' })
  const again = await service.ask(actor, OPEN, { id })
  expect(again.errors?.[0]?.extensions.code).toBe('CONFLICT')
})

test('whatever becomes of the terminal, no session is open once its allocation has ended', async () => {
  const actor = memberOf()
  const id = await running(actor)
  const other = await running(actor)
  for (const allocation of [id, id, other]) await service.ask(actor, OPEN, { id: allocation })
  // Asked for while the release is under way, some come before it and some after.
  const racing = Array.from({ length: 10 }, () => service.ask(actor, OPEN, { id }))
  await Promise.all([...racing, service.ask(actor, RELEASE, { id })])
  const sessions = (allocation: string) =>
    it.admin.query<{ reason: string | null; is_at_end: boolean }>(
      `SELECT close_reason AS reason, closed_at = ended_at AS is_at_end FROM terminal_sessions
       JOIN allocations ON allocations.id = allocation_id WHERE allocation_id = $1::uuid`,
      [idToUuid(parseId('alc', allocation))],
    )
  const closed = await sessions(id)
  expect(closed.length).toBeGreaterThanOrEqual(2)
  expect(new Set(closed.map(({ reason }) => reason))).toEqual(new Set(['REVOKED']))
  expect(closed.every((session) => session.is_at_end)).toBe(true)
  expect((await sessions(other)).map(({ reason }) => reason)).toEqual([null])
})

test('is refused to a foreign origin, a foreign organization, and a key without a person', async () => {
  const actor = memberOf()
  const id = await running(actor)
  for (const origin of ['https://evil.test', 'null', '', `${ORIGIN}/`, 'https://CONSOLE.test']) {
    const { errors } = await service.ask(actor, OPEN, { id, origin })
    expect(errors?.[0]?.extensions.code).toBe('BAD_INPUT')
  }
  const foreign = await service.ask(memberOf(), OPEN, { id })
  expect(foreign.errors?.[0]?.extensions.code).toBe('NOT_FOUND')
  const key = createActor({
    kind: 'api-key',
    organizationId: actor.organizationId,
    roles: ['member'],
    scopes: ['allocation:*', 'terminal:open'],
  })
  const impersonal = await service.ask(key, OPEN, { id })
  expect(impersonal.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('a person opens no more terminals than policy lets them, and a colleague is not held up', async () => {
  await using own = new AsyncDisposableStack()
  it.neighbours.policies['ratelimit.terminal'] = { perMinute: 1, burst: 2 }
  try {
    // It knows nothing of a rate yet.
    const replica = await it.open(own)
    const actor = memberOf()
    const id = await running(actor)
    const open = async (by: Actor) => {
      const { errors } = await replica.ask(by, OPEN, { id })
      return errors?.[0]?.extensions ?? 'opened'
    }
    expect([await open(actor), await open(actor)]).toEqual(['opened', 'opened'])
    expect(await open(actor)).toMatchObject({
      code: 'RATE_LIMITED',
      retryAfterSeconds: expect.any(Number),
    })
    expect(await open(memberOf(actor.organizationId))).toBe('opened')
  } finally {
    delete it.neighbours.policies['ratelimit.terminal']
  }
})
