import { type Actor, createActor } from '@berth/platform/actor'
import { ACTOR_EXTENSION, ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { openDatabase } from '@berth/platform/database'
import { type Id, newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { testDatabase, testKeys, testNats, testRedis } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { PrismaClient } from '@berth/prisma/allocations'
import { openAllocations, type Substitutes } from '../app.ts'
import { createMemoryNodes } from '../driver/memory.ts'
import { SERVICES } from './harness.ts'
import { startNeighbours } from './neighbours.ts'

export type Installation = Awaited<ReturnType<typeof install>>

export type Answer = {
  // biome-ignore lint/suspicious/noExplicitAny: the test knows what it asked for.
  data?: any
  errors?: { message: string; extensions: { code: string } }[]
}

/** What a service needs around it: real servers, keys, neighbours, and a node in memory. */
export async function install(scope: AsyncDisposableStack) {
  const keys = scope.use(testKeys(SERVICES))
  const database = scope.use(await testDatabase('allocations'))
  const redis = scope.use(await testRedis())
  const nats = scope.use(await testNats())
  const neighbours = scope.use(await startNeighbours(keys))
  const driver = createMemoryNodes()
  /** As superuser. */
  const admin = scope.adopt(
    openDatabase({
      url: database.adminUrl,
      schema: 'allocations',
      client: (adapter) => new PrismaClient({ adapter }),
    }),
    (it) => it.close(),
  ).sql
  const { privateJwk } = loadKeys(keys.dir, 'gateway')
  const signer = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })

  /** One replica, on a port of its own. */
  async function open(within: AsyncDisposableStack, substitutes: Substitutes = {}) {
    const config = {
      BERTH_SERVICE: 'allocations',
      BERTH_INSTANCE: newId('cmd'),
      BERTH_ENV: 'test' as const,
      HOST: '127.0.0.1',
      PORT: 0,
      DATABASE_URL: database.appUrl,
      REDIS_URL: redis.url,
      NATS_URL: nats.url,
      BERTH_KEYS_DIR: keys.dir,
      BERTH_PEERS: neighbours.peers,
      BERTH_DRAIN_SECONDS: 1,
      LOG_LEVEL: 'silent' as const,
      BERTH_DEVELOPMENT_NODE: undefined,
      NODE_PROBE_ALLOWED_CIDRS: [],
      TERMINAL_URL: 'ws://terminal.test',
      BERTH_ALLOWED_ORIGINS: ['https://console.test'],
    }
    const log = createLog({ service: 'allocations', instance: 'test', level: 'silent' })
    const metrics = createMetrics({ service: 'allocations' })
    const service = await openAllocations(
      within,
      { config, log, metrics },
      { driver, ...substitutes },
    )

    async function ask(
      actor: Actor | null,
      query: string,
      variables: Record<string, unknown> = {},
      headers: Record<string, string> = {},
    ): Promise<Answer> {
      const response = await fetch(`${service.url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(actor ? { [ACTOR_HEADER]: await signer.sign(actor, 'allocations') } : {}),
          ...headers,
        },
        body: JSON.stringify({ query, variables }),
      })
      return (await response.json()) as Answer
    }

    /** Subscribes over graphql-ws; what comes is collected. */
    async function subscribe(actor: Actor, query: string, variables: Record<string, unknown> = {}) {
      const assertion = await signer.sign(actor, 'allocations')
      const payload = { query, variables, extensions: { [ACTOR_EXTENSION]: assertion } }
      return openSubscription(`${service.url.replace('http', 'ws')}/graphql`, payload)
    }
    return { ...service, ask, subscribe }
  }
  return { admin, nats, redis, keysDir: keys.dir, neighbours, driver, open }
}

export function memberOf(
  organizationId: Id<'org'> | null = newId('org'),
  fields: { subject?: Id<'usr'>; roles?: string[] } = {},
): Actor {
  const { subject = newId('usr'), roles = ['member'] } = fields
  return createActor({ kind: 'person', subject, organizationId, roles })
}

type Message = { type: string; payload?: unknown }

async function openSubscription(url: string, payload: Record<string, unknown>) {
  const socket = new WebSocket(url, 'graphql-transport-ws')
  const received: Answer[] = []
  const errors: { message: string; extensions: { code: string } }[] = []
  const send = (message: Record<string, unknown>) => socket.send(JSON.stringify(message))
  const acknowledged = new Promise<void>((done, fail) => {
    socket.addEventListener('open', () => send({ type: 'connection_init' }))
    socket.addEventListener('close', ({ code }) => fail(new Error(`the socket closed: ${code}`)))
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(String(data)) as Message
      if (message.type === 'connection_ack') done()
      if (message.type === 'next') received.push(message.payload as Answer)
      if (message.type === 'error') errors.push(...(message.payload as typeof errors))
    })
  })
  await acknowledged
  send({ type: 'subscribe', id: '1', payload })
  return { received, errors, close: () => socket.close() }
}
