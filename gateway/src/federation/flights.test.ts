import { type Actor, createActor } from '@berth/platform/actor'
import type { Id } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Answer } from './answers.ts'
import { createFlights, type Flights } from './flights.ts'

type TestFlights = Flights & {
  /** Of another graph. */
  another(): Flights
  shared(): Promise<number | undefined>
}

function flights(): TestFlights {
  const metrics = createMetrics({ service: 'gateway' })
  const another = createFlights({ metrics })
  return {
    ...another(),
    another,
    async shared() {
      const metric = metrics.registry.getSingleMetric('berth_gateway_shared_reads_total')
      return (await metric?.get())?.values[0]?.value
    },
  }
}

/** Without a subject: a key of the organization, or nobody in particular. */
function actor(organizationId: string | null, subject: string | null = null): Actor {
  return createActor({
    kind: subject === null ? 'api-key' : 'person',
    organizationId: organizationId as Id<'org'> | null,
    subject: subject as Id<'usr'> | null,
  })
}

const NOBODY = actor(null)
const ONE = actor('org_1')
const TWO = actor('org_2')

const answerOf = (text: string): Answer => ({ dataText: text, errors: [] })

/** A run that ends when it is told to. */
function run() {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  let count = 0
  return {
    resolve,
    reject,
    get count() {
      return count
    },
    run: () => {
      count++
      return promise
    },
  }
}

test('equal reads that are on their way are one, and get the same answer', async () => {
  const { share, shared } = flights()
  const one = run()
  const all = [share('a', ONE, one.run), share('a', ONE, one.run), share('a', TWO, one.run)]
  expect(one.count).toBe(1)
  const answer = answerOf('1')
  one.resolve(answer)
  for (const it of await Promise.all(all)) expect(it).toBe(answer)
  expect(await shared()).toBe(2)
})

test('another key is another read, and an answer is not kept', async () => {
  const { share } = flights()
  const ran: string[] = []
  const read = (key: string) => share(key, NOBODY, async () => answerOf(String(ran.push(key))))
  await Promise.all([read('a'), read('b'), read('a')])
  await read('a')
  expect(ran).toEqual(['a', 'b', 'a'])
})

test('a failure is shared, and forgotten', async () => {
  const { share } = flights()
  const one = run()
  const all = [share('a', NOBODY, one.run), share('a', NOBODY, one.run)]
  one.reject(new Error('no'))
  for (const it of all) await expect(it).rejects.toThrow('no')
  await expect(share('a', NOBODY, async () => answerOf('1'))).resolves.toEqual(answerOf('1'))
})

test('after a write its organization joins no read that began before, and others do', async () => {
  const { share, wrote } = flights()
  const old = run()
  const first = share('a', ONE, old.run)
  wrote(ONE)
  const other = share('a', TWO, old.run)
  const anew = share('a', ONE, async () => answerOf('new'))
  // The newer one is what everyone joins from here on.
  const again = share('a', TWO, old.run)
  old.resolve(answerOf('old'))
  const texts = (await Promise.all([first, other, anew, again])).map((it) => it.dataText)
  expect(texts).toEqual(['old', 'old', 'new', 'new'])
  expect(old.count).toBe(1)
})

test('a write of nobody concerns everyone', async () => {
  const { share, wrote } = flights()
  const old = run()
  const first = share('a', ONE, old.run)
  wrote(NOBODY)
  const anew = share('a', TWO, async () => answerOf('new'))
  expect((await anew).dataText).toBe('new')
  old.resolve(answerOf('old'))
  await first
})

test('a person who wrote for one organization joins no older read for another', async () => {
  const { share, wrote } = flights()
  const old = run()
  const first = share('a', actor('org_2', 'usr_1'), old.run)
  wrote(actor('org_1', 'usr_1'))
  const colleague = share('a', actor('org_2', 'usr_2'), old.run)
  const anew = share('a', actor('org_2', 'usr_1'), async () => answerOf('new'))
  expect((await anew).dataText).toBe('new')
  old.resolve(answerOf('old'))
  expect((await colleague).dataText).toBe('old')
  await first
  expect(old.count).toBe(1)
})

test('a write that ran in one graph ends what is on its way in another; nothing is joined across', async () => {
  const { share, another } = flights()
  const before = another()
  const old = run()
  const first = share('a', ONE, old.run)
  const apart = before.share('a', ONE, async () => answerOf('of before'))
  expect((await apart).dataText).toBe('of before')
  before.wrote(ONE)
  const anew = share('a', ONE, async () => answerOf('new'))
  expect((await anew).dataText).toBe('new')
  old.resolve(answerOf('old'))
  await first
})

test('of more reads and writers than it keeps, nobody reads what is too old', async () => {
  const { share, wrote } = flights()
  const old = run()
  const all = Array.from({ length: 10_050 }, (_, i) => share(`key ${i}`, NOBODY, old.run))
  for (let i = 0; i < 10_050; i++) wrote(actor(`org_${i}`))
  const texts = await Promise.all(
    Array.from({ length: 10_050 }, async (_, i) =>
      share(`key ${i}`, actor(`org_${i}`), async () => answerOf('new')),
    ),
  )
  expect(texts.every((it) => it.dataText === 'new')).toBe(true)
  old.resolve(answerOf('old'))
  await Promise.all(all)
})

// Each client acts for any organization, or for none; one is a key, which is nobody in person.
const by = fc.record({
  organization: fc.constantFrom('org_1', 'org_2', null),
  person: fc.constantFrom('usr_1', 'usr_2', null),
})
// The graph that is served changes, and what was opened in either runs on.
const graph = fc.nat(1)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read'), by, graph }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('write'), by, graph }) },
  // A run reads the register at some time, a write lands at some time, either is answered later.
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('go on'), of: fc.nat(100) }) },
)

test('whatever the order, nobody reads a value older than their own last acknowledged write', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { another } = flights()
      const graphs = [another(), another()] as const
      // Public data: every organization writes it, and one key reads it.
      let register = 0
      let lastWritten = 0
      const acknowledged = new Map<string | null, number>()
      const underWay: (() => void)[] = []
      const reads: Promise<void>[] = []

      for (const it of steps) {
        if (it.kind === 'read') {
          const { organization, person } = it.by
          // Whoever wrote for no organization counts as everyone.
          const names = [organization, person, 'everyone']
          const least = Math.max(...names.map((name) => acknowledged.get(name) ?? 0))
          const answer = graphs[it.graph === 0 ? 0 : 1].share(
            'key',
            actor(organization, person),
            () => {
              const { promise, resolve } = Promise.withResolvers<Answer>()
              underWay.push(() => {
                const seen = answerOf(String(register))
                underWay.push(() => resolve(seen))
              })
              return promise
            },
          )
          reads.push(
            answer.then(({ dataText }) => expect(Number(dataText)).toBeGreaterThanOrEqual(least)),
          )
        } else if (it.kind === 'write') {
          const { graph } = it
          const { organization, person } = it.by
          underWay.push(() => {
            const value = ++lastWritten
            register = value
            underWay.push(() => {
              graphs[graph === 0 ? 0 : 1].wrote(actor(organization, person))
              for (const name of [organization ?? 'everyone', person]) {
                if (name !== null)
                  acknowledged.set(name, Math.max(acknowledged.get(name) ?? 0, value))
              }
            })
          })
        } else if ('of' in it && underWay.length > 0) {
          const [next] = underWay.splice(it.of % underWay.length, 1)
          next?.()
          // Its flight ends, or not, before what comes next.
          if (it.of % 2 === 0) await Promise.resolve()
        }
      }
      while (underWay.length > 0) underWay.shift()?.()
      await Promise.all(reads)
    }),
    { numRuns: 3_000 },
  )
})
