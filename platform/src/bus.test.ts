import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Bus, type Delivery, OutOfStep, openBus } from './bus.ts'
import { newUuid } from './ids.ts'
import { createLog } from './log.ts'
import { ownServer, type TestNats, testNats, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
let nats: TestNats
let bus: Bus
let domain: string
beforeAll(async () => {
  nats = await testNats()
  bus = openBus({ url: nats.url, name: 'test', log })
})
afterAll(async () => {
  await bus.close()
  await nats.drop()
})
beforeEach(() => {
  domain = `d${newUuid().replaceAll('-', '')}`
})

/** Appends texts to the domain's stream. */
async function publish(texts: string[], to = bus): Promise<void> {
  let { lastSeq } = await to.ensureStream(domain)
  for (const text of texts) {
    const message = { domain, subject: `berth.${domain}.a.b.v1`, id: newUuid(), text }
    lastSeq = (await to.publish({ ...message, afterSeq: lastSeq })).seq
  }
}

test('a message comes once per id, and only after the one it must follow', async () => {
  await bus.ensureStream(domain)
  const message = { domain, subject: `berth.${domain}.a.b.v1`, id: newUuid(), text: 'x' }
  expect(await bus.publish({ ...message, afterSeq: 0 })).toEqual({ seq: 1 })
  expect(await bus.publish({ ...message, afterSeq: 0 })).toEqual({ seq: 1 })
  await expect(bus.publish({ ...message, id: newUuid(), afterSeq: 0 })).rejects.toThrow(OutOfStep)
  await expect(bus.publish({ ...message, id: newUuid(), afterSeq: 2 })).rejects.toThrow(OutOfStep)
  expect(await bus.ensureStream(domain)).toMatchObject({ lastSeq: 1 })
})

test('a failing message is retried before any other comes, by whichever replica', async () => {
  const texts = ['1', '2', '3', '4', '5']
  await publish(texts)
  const second = openBus({ url: nats.url, name: 'second', log })
  const seen: string[] = []
  const handler = async ({ text, attempt }: Delivery) => {
    seen.push(text)
    if (text === '3' && attempt < 4) throw new Error('not yet')
  }
  const options = { domain, durable: 'c', handler, backoffSeconds: () => 0.02 }
  for (const it of [bus, second]) it.consume(options)
  await until(() => expect(seen.at(-1)).toBe('5'))
  expect(seen).toEqual(['1', '2', '3', '3', '3', '3', '4', '5'])
  await second.close()
})

test('replicas never handle two messages at once', async () => {
  await publish(Array.from({ length: 30 }, (_, i) => String(i)))
  const seen: string[] = []
  let running = 0
  let mostAtOnce = 0
  const handler = async ({ text }: Delivery) => {
    running += 1
    mostAtOnce = Math.max(mostAtOnce, running)
    await sleep(1)
    seen.push(text)
    running -= 1
  }
  const replicas = [1, 2, 3].map(() => openBus({ url: nats.url, name: 'replica', log }))
  for (const it of replicas) it.consume({ domain, durable: 'c', handler })
  await until(() => expect(seen.length).toBe(30))
  expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => String(i)))
  expect(mostAtOnce).toBe(1)
  await Promise.all(replicas.map((it) => it.close()))
})

test('a slow handler keeps its message, and stopping waits for it', async () => {
  await publish(['slow'])
  const seen: string[] = []
  const release = Promise.withResolvers<void>()
  const options = { domain, durable: 'c', ackWaitSeconds: 1 }
  const consuming = bus.consume({
    ...options,
    handler: async ({ text }) => {
      seen.push(text)
      await release.promise
    },
  })
  const second = openBus({ url: nats.url, name: 'second', log })
  await until(() => expect(seen).toEqual(['slow']))
  second.consume({ ...options, handler: async () => void seen.push('stolen') })
  // More than the server waits for a replica that is silent.
  await sleep(2_500)
  expect(seen).toEqual(['slow'])
  let isStopped = false
  const stopped = consuming.stop().then(() => {
    isStopped = true
  })
  await sleep(20)
  expect(isStopped).toBe(false)
  release.resolve()
  await stopped
  await publish(['next'])
  await until(() => expect(seen).toEqual(['slow', 'stolen']))
  await second.close()
})

test('a message that a stopped consumer was about to get goes to the others at once', async () => {
  await bus.ensureStream(domain)
  const idle = bus.consume({ domain, durable: 'c', handler: async () => expect.fail('stopped') })
  await sleep(50)
  await idle.stop()
  const seen: string[] = []
  bus.consume({ domain, durable: 'c', handler: async ({ text }) => void seen.push(text) })
  await publish(['x'])
  await until(() => expect(seen).toEqual(['x']))
})

test('streams of another namespace are another world', async () => {
  const other = await testNats()
  const elsewhere = openBus({ url: other.url, name: 'test', log })
  await publish(['here'])
  expect(await elsewhere.ensureStream(domain)).toMatchObject({ lastSeq: 0 })
  await publish(['there'], elsewhere)
  const seen: string[] = []
  bus.consume({ domain, durable: 'c', handler: async (it) => void seen.push(it.subject, it.text) })
  await until(() => expect(seen).toEqual([`berth.${domain}.a.b.v1`, 'here']))
  await elsewhere.close()
  await other.drop()
})

test('calls fail while the server is away, and a consumer goes on when it is back', async () => {
  await using server = await ownServer('nats')
  await server.stop()
  const own = openBus({ url: server.url, name: 'test', log })
  await expect(own.ping()).rejects.toThrow('no connection')
  await server.start()
  await until(() => own.ping())
  await publish(['1'], own)
  const seen: string[] = []
  own.consume({ domain, durable: 'c', handler: async ({ text }) => void seen.push(text) })
  await until(() => expect(seen).toEqual(['1']))
  await server.stop('SIGTERM')
  await server.start()
  await until(() => own.ping())
  await publish(['2'], own)
  await until(() => expect(seen).toEqual(['1', '2']))
  await own.close()
})

test('a consumer that is ahead of a stream which lost its end reads it anew', async () => {
  await using server = await ownServer('nats')
  const own = openBus({ url: server.url, name: 'test', log })
  await publish(['1', '2'], own)
  const seen: string[] = []
  own.consume({ domain, durable: 'c', handler: async ({ text }) => void seen.push(text) })
  await until(() => expect(seen).toEqual(['1', '2']))
  server.snapshot()
  await publish(['3', '4', '5'], own)
  await until(() => expect(seen).toHaveLength(5))
  await server.stop('SIGTERM')
  server.restore(`jetstream/$G/streams/BERTH_${domain.toUpperCase()}/msgs`)
  await server.start()
  await until(() => own.ping())
  expect(await own.ensureStream(domain)).toMatchObject({ lastSeq: 2 })
  await publish(['6', '7'], own)
  await until(() => expect(seen.slice(5)).toEqual(expect.arrayContaining(['6', '7'])))
  await own.close()
})

test('closing does not wait for a server that was never there', async () => {
  const own = openBus({ url: 'nats://127.0.0.1:1', name: 'test', log })
  own.consume({ domain, durable: 'c', handler: async () => undefined })
  await own.close()
})
