import { createMetrics } from '@berth/platform/metrics'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Answer } from './executor.ts'
import { createFlights, type Flights } from './flights.ts'

function flights(): Flights & { shared(): Promise<number | undefined> } {
  const metrics = createMetrics({ service: 'gateway' })
  return {
    ...createFlights({ metrics }),
    async shared() {
      const metric = metrics.registry.getSingleMetric('berth_gateway_shared_reads_total')
      return (await metric?.get())?.values[0]?.value
    },
  }
}

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
  const all = [
    share('a', 'org_1', one.run),
    share('a', 'org_1', one.run),
    share('a', 'org_2', one.run),
  ]
  expect(one.count).toBe(1)
  const answer = answerOf('1')
  one.resolve(answer)
  for (const it of await Promise.all(all)) expect(it).toBe(answer)
  expect(await shared()).toBe(2)
})

test('another key is another read, and an answer is not kept', async () => {
  const { share } = flights()
  const ran: string[] = []
  const read = (key: string) => share(key, null, async () => answerOf(String(ran.push(key))))
  await Promise.all([read('a'), read('b'), read('a')])
  await read('a')
  expect(ran).toEqual(['a', 'b', 'a'])
})

test('a failure is shared, and forgotten', async () => {
  const { share } = flights()
  const one = run()
  const all = [share('a', null, one.run), share('a', null, one.run)]
  one.reject(new Error('no'))
  for (const it of all) await expect(it).rejects.toThrow('no')
  await expect(share('a', null, async () => answerOf('1'))).resolves.toEqual(answerOf('1'))
})

test('after a write its organization joins no read that began before, and others do', async () => {
  const { share, wrote } = flights()
  const old = run()
  const first = share('a', 'org_1', old.run)
  wrote('org_1')
  const other = share('a', 'org_2', old.run)
  const anew = share('a', 'org_1', async () => answerOf('new'))
  // The newer one is what everyone joins from here on.
  const again = share('a', 'org_2', old.run)
  old.resolve(answerOf('old'))
  const texts = (await Promise.all([first, other, anew, again])).map((it) => it.dataText)
  expect(texts).toEqual(['old', 'old', 'new', 'new'])
  expect(old.count).toBe(1)
})

test('a write of nobody concerns everyone', async () => {
  const { share, wrote } = flights()
  const old = run()
  const first = share('a', 'org_1', old.run)
  wrote(null)
  const anew = share('a', 'org_2', async () => answerOf('new'))
  expect((await anew).dataText).toBe('new')
  old.resolve(answerOf('old'))
  await first
})

test('of more reads and writers than it keeps, nobody reads what is too old', async () => {
  const { share, wrote } = flights()
  const old = run()
  const all = Array.from({ length: 10_050 }, (_, i) => share(`key ${i}`, null, old.run))
  for (let i = 0; i < 10_050; i++) wrote(`org_${i}`)
  const texts = await Promise.all(
    Array.from({ length: 10_050 }, async (_, i) =>
      share(`key ${i}`, `org_${i}`, async () => answerOf('new')),
    ),
  )
  expect(texts.every((it) => it.dataText === 'new')).toBe(true)
  old.resolve(answerOf('old'))
  await Promise.all(all)
})

const ORGANIZATIONS = ['org_1', 'org_2', null] as const
const organization = fc.constantFrom(...ORGANIZATIONS)
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read'), organization }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('write'), organization }) },
  // A run reads the register at some time, a write lands at some time, either is answered later.
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('go on'), of: fc.nat(100) }) },
)

test('whatever the order, nobody reads a value older than their own last acknowledged write', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { share, wrote } = flights()
      // Public data: every organization writes it, and one key reads it.
      let register = 0
      let lastWritten = 0
      const acknowledged = new Map<string | null, number>()
      const underWay: (() => void)[] = []
      const reads: Promise<void>[] = []

      for (const it of steps) {
        if (it.kind === 'read') {
          const least = Math.max(
            acknowledged.get(it.organization) ?? 0,
            acknowledged.get(null) ?? 0,
          )
          const answer = share('key', it.organization, () => {
            const { promise, resolve } = Promise.withResolvers<Answer>()
            underWay.push(() => {
              const seen = answerOf(String(register))
              underWay.push(() => resolve(seen))
            })
            return promise
          })
          reads.push(
            answer.then(({ dataText }) => expect(Number(dataText)).toBeGreaterThanOrEqual(least)),
          )
        } else if (it.kind === 'write') {
          const by = it.organization
          underWay.push(() => {
            const value = ++lastWritten
            register = value
            underWay.push(() => {
              wrote(by)
              acknowledged.set(by, Math.max(acknowledged.get(by) ?? 0, value))
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
