import { createHash } from 'node:crypto'
import { afterEach, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { type Actor, actorToClaims, createActor } from './actor.ts'
import { fakeClock } from './clock.ts'
import {
  type CommandContext,
  createCommandClient,
  createCommandPort,
  handleCommand,
} from './commands.ts'
import { command } from './contract.ts'
import { DomainError } from './errors.ts'
import { startHttp } from './http.ts'
import { newId, newUuid } from './ids.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { createPeers } from './peers.ts'
import { createServiceJwtSigner } from './service-jwt.ts'
import { newServiceKey } from './trusted-keys.ts'

const keys = {
  allocations: newServiceKey('allocations'),
  billing: newServiceKey('billing'),
  inventory: newServiceKey('inventory'),
}
const jwks = { keys: Object.values(keys).map(({ publicJwk }) => publicJwk) }
const Micros = z.codec(z.string().regex(/^\d+$/), z.bigint(), {
  decode: (text) => BigInt(text),
  encode: String,
})
const Hold = command({
  name: 'slots.hold',
  owner: 'inventory',
  callers: ['allocations'],
  input: z.strictObject({ gpus: z.int().positive(), price: Micros }),
  output: z.strictObject({ total: Micros }),
})
type Hold = { gpus: number; price: bigint }

const scope = { dispose: [] as (() => Promise<void>)[] }
afterEach(async () => {
  for (const dispose of scope.dispose.splice(0).reverse()) await dispose()
})

type Handler = (input: Hold, context: CommandContext) => Promise<{ total: bigint }>

async function start(handler: Handler, replicas = 1) {
  const clock = fakeClock(new Date())
  const log = createLog({ service: 's', instance: 's-1', level: 'silent' })
  const metrics = createMetrics({ service: 's' })
  const servers = []
  for (let i = 0; i < replicas; i++) {
    const handlers = [handleCommand(Hold, handler)]
    const routes = createCommandPort({ service: 'inventory', handlers, jwks, metrics, clock })
    const server = await startHttp({
      host: '127.0.0.1',
      port: 0,
      log,
      metrics,
      routes,
      drainSeconds: 0,
    })
    scope.dispose.push(() => server.close())
    servers.push(server)
  }
  const peers = createPeers({ inventory: servers.map(({ url }) => url) })
  scope.dispose.push(() => peers.close())
  const clientOf = (service: keyof typeof keys) =>
    createCommandClient({
      service,
      privateJwk: keys[service].privateJwk,
      peers,
      metrics: createMetrics({ service }),
      clock,
    })
  return { clock, metrics, servers, clientOf, url: servers[0]?.url ?? '' }
}

const total: Handler = async ({ gpus, price }) => ({ total: BigInt(gpus) * price })

test('a call carries decoded values both ways, the actor, and the command id', async () => {
  const seen: CommandContext[] = []
  const { clientOf, metrics } = await start((input, context) => {
    seen.push(context)
    return total(input, context)
  })
  const actor = createActor({ kind: 'person', subject: newId('usr'), organizationId: newId('org') })
  const options = { commandId: 'hold:alc_1:1', actor, requestId: 'request-0001' }
  const output = await clientOf('allocations').call(Hold, { gpus: 2, price: 5n }, options)
  expect(output).toEqual({ total: 10n })
  expect(seen[0]).toMatchObject({
    commandId: 'hold:alc_1:1',
    caller: 'allocations',
    requestId: 'request-0001',
  })
  expect(actorToClaims(seen[0]?.actor as Actor)).toEqual(actorToClaims(actor))
  await clientOf('allocations').call(Hold, { gpus: 1, price: 1n }, { commandId: newUuid() })
  expect(seen[1]?.actor).toMatchObject({ kind: 'service', service: 'allocations' })
  expect(await metrics.registry.metrics()).toContain(
    'berth_commands_handled_total{name="slots.hold",code="OK",service="s"} 2',
  )
})

test('a caller that the contract does not list is refused, however well it signs', async () => {
  const handler = vi.fn(total)
  const { clientOf } = await start(handler)
  await expect(
    clientOf('billing').call(Hold, { gpus: 1, price: 1n }, { commandId: newUuid() }),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  expect(handler).not.toHaveBeenCalled()
})

const body = JSON.stringify({ gpus: 1, price: '1' })
const hash = (text: string) => createHash('sha256').update(text).digest('base64url')

async function attack(change: {
  key?: keyof typeof keys
  iss?: string
  aud?: string
  typ?: string
  claims?: object
  sent?: string
  ageSeconds?: number
  path?: string
  header?: string
}) {
  const handler = vi.fn(total)
  const { url, clock } = await start(handler)
  const at = new Date(clock.now().getTime() - (change.ageSeconds ?? 0) * 1000)
  const sign = createServiceJwtSigner({
    issuer: change.iss ?? 'allocations',
    privateJwk: keys[change.key ?? 'allocations'].privateJwk,
    clock: { now: () => at },
  })
  const claims = { cmd: 'slots.hold', jti: newUuid(), bh: hash(body), ...change.claims }
  const token = await sign(change.typ ?? 'command+jwt', change.aud ?? 'inventory', claims, 30)
  const response = await fetch(`${url}/internal/commands/${change.path ?? 'slots.hold'}`, {
    method: 'POST',
    headers: { authorization: change.header ?? `Bearer ${token}` },
    body: change.sent ?? body,
  })
  const json = (await response.json()) as { error?: { code: string } }
  return { status: response.status, code: json.error?.code, called: handler.mock.calls.length }
}

test('the attack itself is sound: unchanged, it is a good call', async () => {
  expect(await attack({})).toEqual({ status: 200, code: undefined, called: 1 })
})

test.each<[string, Parameters<typeof attack>[0]]>([
  ['no signature', { header: '' }],
  ['a tampered body', { sent: body.replace('1', '8') }],
  ['a body without its hash', { claims: { bh: undefined } }],
  ['a replay after expiry', { ageSeconds: 40 }],
  ['a token for another service', { aud: 'billing' }],
  ['a token for another command', { claims: { cmd: 'slots.release' } }],
  ['an actor’s assertion', { typ: 'actor+jwt' }],
  ['one service that signs as another', { key: 'billing', iss: 'allocations' }],
  ['no command id', { claims: { jti: undefined } }],
  ['a command id that breaks logs', { claims: { jti: 'a\nb' } }],
  ['an actor that is none', { claims: { act: { kind: 'person', authority: 'GOD' } } }],
  ['a command that does not exist, signed for another', { path: 'nope' }],
])('%s is refused before the handler', async (_case, change) => {
  expect(await attack(change)).toEqual({ status: 401, code: 'UNAUTHENTICATED', called: 0 })
})

test('a command that does not exist is NOT_FOUND to who signs for it', async () => {
  expect(await attack({ path: 'nope', claims: { cmd: 'nope' } })).toMatchObject({
    code: 'NOT_FOUND',
  })
})

test('malformed input is BAD_INPUT and does not reach the handler', async () => {
  for (const sent of ['{"gpus":0,"price":"1"}', '{"gpus":1,"price":"1","x":1}', 'no json', '[]']) {
    expect(await attack({ sent, claims: { bh: hash(sent) } })).toMatchObject({
      status: 400,
      code: 'BAD_INPUT',
      called: 0,
    })
  }
})

test('an expected failure keeps its code, message and fields; a fault is masked', async () => {
  let failure: Error = new DomainError('NO_CAPACITY', 'None is free', {
    retryAfterSeconds: 5,
    free: 0,
  })
  const { clientOf } = await start(async () => {
    throw failure
  })
  const call = () =>
    clientOf('allocations').call(Hold, { gpus: 1, price: 1n }, { commandId: newUuid() })
  await expect(call()).rejects.toMatchObject({
    code: 'NO_CAPACITY',
    message: 'None is free',
    extensions: { retryAfterSeconds: 5, free: 0 },
  })
  failure = new Error('password=hunter2')
  await expect(call()).rejects.toMatchObject({
    code: 'INTERNAL',
    message: expect.not.stringContaining('hunter2'),
  })
})

test('UNAVAILABLE and a dead replica are tried again with the same command id', async () => {
  const ids: string[] = []
  const { clientOf, servers } = await start(async (input, context) => {
    ids.push(context.commandId)
    if (ids.length < 3) throw new DomainError('UNAVAILABLE', 'Not now')
    return total(input, context)
  }, 2)
  await servers[0]?.close()
  const options = { commandId: 'the-same' }
  await clientOf('allocations').call(Hold, { gpus: 1, price: 1n }, options)
  expect(ids).toEqual(['the-same', 'the-same', 'the-same'])
})

test('an owner that is down is UPSTREAM_UNAVAILABLE, one that hangs is a TIMEOUT', async () => {
  const { clientOf, servers } = await start(() => new Promise(() => undefined))
  const call = (timeoutMs: number) =>
    clientOf('allocations').call(Hold, { gpus: 1, price: 1n }, { commandId: newUuid(), timeoutMs })
  await expect(call(50)).rejects.toMatchObject({ code: 'TIMEOUT' })
  await servers[0]?.close()
  await expect(call(2_000)).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
})

test('an answer that breaks the contract is not passed on as a value', async () => {
  const { clientOf } = await start(async () => ({ total: -1n }))
  await expect(
    clientOf('allocations').call(Hold, { gpus: 1, price: 1n }, { commandId: newUuid() }),
  ).rejects.toMatchObject({ code: 'INTERNAL' })
})

test('a service cannot offer what it does not own, nor anything twice', () => {
  const metrics = createMetrics({ service: 's' })
  const handler = handleCommand(Hold, total)
  const port = (service: string, handlers = [handler]) =>
    createCommandPort({ service, handlers, jwks, metrics })
  expect(() => port('billing')).toThrow(/not billing's/)
  expect(() => port('inventory', [handler, handler])).toThrow(/two handlers/)
})
