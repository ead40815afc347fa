import { createClient } from 'graphql-ws'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { gatewayProcess, subgraphProcess } from '../../test-subgraphs/process.ts'
import { ownRedis } from '../../test-subgraphs/redis.ts'
import { killStorm } from './storm.test-kit.ts'

const QUERY = 'subscription { allocationUpdated { event { sequence } allocation { id } } }'
const OTHERS = ['billing', 'inventory', 'notifications', 'policy'] as const

test('kill -9 of the owner, again and again, while events come: the exact sequence', async () => {
  await using platform = await openTestPlatform({ only: OTHERS })
  await using owner = await subgraphProcess('allocations', platform)
  platform.peers.allocations = [owner.url]
  await owner.start()
  const gateway = await platform.gateway()
  const stream = await listen(platform, gateway)
  let published = 0
  for (let round = 0; round < 3; round++) {
    // First before there was any event, then in the midst of what it sends.
    await owner.kill()
    for (let i = 0; i < 10; i++) await platform.publish(`alc_${++published}`)
    await owner.start()
    for (let i = 0; i < 30; i++) await platform.publish(`alc_${++published}`)
  }
  await expect.poll(() => stream.sequence.length).toBeGreaterThanOrEqual(published)
  expect(stream.sequence).toEqual(Array.from({ length: published }, (_, i) => i + 1))
  expect(stream.endings).toEqual([])
  await stream.end()
})

test('kill -9 of Redis ends no stream, and loses nothing of it', async () => {
  await using redis = await ownRedis()
  await using platform = await openTestPlatform({ redisUrl: redis.url })
  const gateway = await platform.gateway({
    streamLimits: { backoff: { baseMs: 100, maxMs: 1_000 } },
  })
  const stream = await listen(platform, gateway)
  await platform.publish('alc_1', 'alc_2')
  await expect.poll(() => stream.sequence).toEqual([1, 2])

  await redis.kill()
  // Without it the gateway goes on to serve, and says in its metrics that its limits are its own.
  const answer = await gateway.ask({ query: '{ offers { nodes { id } } }' })
  expect(answer.body.errors).toBeUndefined()
  expect(await gateway.metrics.registry.metrics()).toMatch(
    /berth_ratelimit_fail_open_total\{.*\} 1/,
  )
  await redis.start()

  await expect.poll(() => platform.redis.status).toBe('ready')
  await platform.publish('alc_3', 'alc_4')
  await expect.poll(() => stream.sequence).toEqual([1, 2, 3, 4])
  expect(stream.endings).toEqual([])
  await stream.end()
})

test('kill -9 of the gateway: the client resumes at another after its last cursor', async () => {
  await using platform = await openTestPlatform()
  await using killed = await gatewayProcess(platform)
  await killed.start()
  const other = await platform.gateway()
  const authorization = `Bearer ${await platform.issuer.token('user')}`
  const query =
    'subscription ($after: String) { allocationUpdated(after: $after) { cursor event { sequence } } }'
  const sequence: number[] = []
  let cursor: string | null = null

  async function read(url: string, until: number): Promise<void> {
    const client = createClient({
      url: `${url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization },
      retryAttempts: 0,
    })
    const variables: { after: string | null } = { after: cursor }
    for await (const { data } of client.iterate<Data>({ query, variables })) {
      if (!data) throw new Error('no data')
      cursor = data.allocationUpdated.cursor
      sequence.push(data.allocationUpdated.event.sequence)
      if (sequence.length === 10) void killed.kill()
      if (sequence.length >= until) break
    }
    await client.dispose()
  }

  const reading = read(killed.url, Number.POSITIVE_INFINITY)
  await expect.poll(async () => (await platform.seen()).length).toBe(1)
  const publishing = (async () => {
    for (let n = 1; n <= 60; n++) await platform.publish(`alc_${n}`)
  })()
  await expect(reading).rejects.toMatchObject({ code: 1006 })
  await publishing
  await read(other.http.url, 60)
  expect(sequence).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
})

test('clients, gateway and owner are lost at random: each client has 1,000 events, each once', async () => {
  await killStorm({ events: 1_000, clients: 8, kills: 4 })
})

type Data = { allocationUpdated: Update }
type Update = { cursor: string; event: { sequence: number } }

async function listen(platform: TestPlatform, gateway: TestGateway) {
  const client = gateway.connect({ authorization: `Bearer ${await platform.issuer.token('user')}` })
  const opened = async () =>
    (await platform.seen()).filter((it) => it.field === 'allocationUpdated').length
  const sequence: number[] = []
  const endings: unknown[] = []
  const stop = client.subscribe<Data>(
    { query: QUERY },
    {
      next: ({ data, errors }) => {
        if (errors) endings.push(errors)
        else sequence.push(data?.allocationUpdated.event.sequence ?? 0)
      },
      error: (error) => endings.push(error),
      complete: () => endings.push('complete'),
    },
  )
  await expect.poll(opened).toBe(1)
  // And once more: it was seen before it was found out where the stream begins.
  await opened()
  return {
    sequence,
    endings,
    async end() {
      stop()
      await client.dispose()
    },
  }
}
