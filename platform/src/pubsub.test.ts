import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { newUuid } from './ids.ts'
import { createLog } from './log.ts'
import {
  channelOf,
  closeRedis,
  createHints,
  type Hints,
  openRedis,
  outboxChannel,
} from './pubsub.ts'
import { ownServer, type TestRedis, testRedis, until } from './test-kit/index.ts'

const log = createLog({ service: 'test', instance: 'test', level: 'silent' })
let kit: TestRedis
let redis: ReturnType<typeof openRedis>
let hints: Hints
beforeAll(async () => {
  kit = await testRedis()
  redis = openRedis(kit.url, log)
})
afterAll(async () => {
  await closeRedis(redis)
  await kit.drop()
})
beforeEach(() => {
  hints = createHints(redis, log)
})
afterEach(() => hints.close())

const turn = () => new Promise((resolve) => setImmediate(resolve))
const fresh = () => channelOf('test', newUuid())

/** What a listener hears, once it has been told that it hears. */
async function listen(to = fresh(), by = hints) {
  const heard: (string | null)[] = []
  const end = by.subscribe(to, (text) => void heard.push(text))
  await until(() => expect(heard).toEqual([null]))
  heard.length = 0
  return { to, heard, end }
}

test('a hint reaches every listener of its channel and no other', async () => {
  const one = await listen()
  const other = await listen()
  const same = await listen(one.to)
  await hints.publish(one.to, 'a')
  await until(() => expect(one.heard).toEqual(['a']))
  await until(() => expect(same.heard).toEqual(['a']))
  expect(other.heard).toEqual([])
})

test('a burst is coalesced into few calls, of which the last says the latest', async () => {
  const { to, heard } = await listen()
  await Promise.all(Array.from({ length: 1_000 }, (_, i) => hints.publish(to, String(i))))
  await until(() => expect(heard.at(-1)).toBe('999'))
  expect(heard.length).toBeLessThan(500)
})

test('a pattern tells which channel spoke, and bursts of several do not hide each other', async () => {
  const heard: [string | null, string | null][] = []
  const key = newUuid()
  hints.subscribe(channelOf('test', key, '*'), (text, channel) => void heard.push([text, channel]))
  await until(() => expect(heard).toEqual([[null, null]]))
  await Promise.all([
    hints.publish(channelOf('test', key, 'a'), '1'),
    hints.publish(channelOf('test', key, 'b'), '2'),
  ])
  await until(() => expect(heard).toHaveLength(3))
  expect(heard.slice(1)).toEqual([
    ['1', `test.${key}.a`],
    ['2', `test.${key}.b`],
  ])
})

test('one that ended hears no more, and Redis is unsubscribed with the last', async () => {
  const one = await listen()
  const two = await listen(one.to)
  one.end()
  await hints.publish(one.to, 'a')
  await until(() => expect(two.heard).toEqual(['a']))
  expect(one.heard).toEqual([])
  two.end()
  two.end()
  const subscribers = async () => redis.publish(`${redis.options.keyPrefix}${one.to}`, 'x')
  await until(async () => expect(await subscribers()).toBe(0))
  const again = await listen(one.to)
  await hints.publish(one.to, 'b')
  await until(() => expect(again.heard).toEqual(['b']))
  expect(two.heard).toEqual(['a'])
})

test('ending before it is subscribed, over and over, leaves nothing behind', async () => {
  const to = fresh()
  const heard: (string | null)[] = []
  for (let i = 0; i < 50; i += 1) hints.subscribe(to, (text) => void heard.push(text))()
  const last = await listen(to)
  await hints.publish(to, 'a')
  await until(() => expect(last.heard).toEqual(['a']))
  await turn()
  expect(heard).toEqual([])
})

test('closing with listeners, and right after their end, rejects nothing unheard', async () => {
  const own = createHints(redis, log)
  const { end } = await listen(fresh(), own)
  await listen(fresh(), own)
  end()
  await own.close()
})

test('closing before Redis was ever reached rejects nothing unheard', async () => {
  const unheard: unknown[] = []
  const onUnheard = (error: unknown) => void unheard.push(error)
  process.on('unhandledRejection', onUnheard)
  const nowhere = openRedis('redis://127.0.0.1:1', log)
  const hints = createHints(nowhere, log)
  hints.subscribe(channelOf('a', 'b'), () => undefined)
  hints.subscribe(channelOf('a', '*'), () => undefined)
  await hints.close()
  await closeRedis(nowhere)
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', onUnheard)
  expect(unheard).toEqual([])
})

test('namespaces do not hear each other', async () => {
  const otherKit = await testRedis()
  const other = openRedis(otherKit.url, log)
  const elsewhere = createHints(other, log)
  const to = fresh()
  const here = await listen(to)
  const there = await listen(to, elsewhere)
  await elsewhere.publish(to, 'there')
  await until(() => expect(there.heard).toEqual(['there']))
  expect(here.heard).toEqual([])
  await elsewhere.close()
  await closeRedis(other)
})

test('while Redis is away nothing fails, and afterwards everyone is told to look', async () => {
  await using server = await ownServer('redis')
  const own = openRedis(server.url, log)
  const far = createHints(own, log)
  const { to, heard } = await listen(fresh(), far)
  await server.stop()
  await far.publish(to, 'lost')
  const late: (string | null)[] = []
  const lateChannel = fresh()
  far.subscribe(lateChannel, (text) => void late.push(text))
  await server.start()
  await until(() => expect(heard).toEqual([null]))
  await until(() => expect(late.at(-1)).toBe(null))
  await until(async () => {
    await far.publish(to, 'back')
    expect(heard.at(-1)).toBe('back')
  })
  await far.publish(lateChannel, 'late')
  await until(() => expect(late.at(-1)).toBe('late'))
  await far.close()
  await closeRedis(own)
})

test.each([['a b'], ['a*'], [''], ['a\nb'], ['ä']])('%j is no part of a channel', (part) => {
  expect(() => channelOf('outbox', part)).toThrow(TypeError)
  expect(() => channelOf('alone')).toThrow(TypeError)
})

test('an organization’s channel is not another’s, nor the platform’s', () => {
  expect(outboxChannel('billing', null)).toBe('outbox.billing.platform')
  expect(outboxChannel('billing', 'a')).not.toBe(outboxChannel('billing', 'b'))
})
