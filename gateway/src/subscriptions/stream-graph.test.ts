import { getOperationAST, parse } from 'graphql'
import { expect, test, vi } from 'vitest'
import { testSupergraph } from '../../test-subgraphs/sdl.ts'
import { memoryOwner, openTestHub } from './memory-owner.test-kit.ts'
import { operationOf } from './operation.ts'
import { createCurrent, inSlices } from './stream-graph.ts'

const { graphOf } = openTestHub(memoryOwner())
const withoutTicks = testSupergraph().replace(/\n {2}ticks: Tick![^\n]*/, '')
const old = graphOf(testSupergraph(), 1)

test('what was opened and planned before the graph is served is found, and each document once', () => {
  const graph = graphOf(testSupergraph(), 2)
  const text = 'subscription A { inbox { counts { unseen } } }'
  const warmed = graph.documents.open(text)
  const planner = vi.fn(graph.planner)
  const current = createCurrent({ ...graph, planner })
  const operations = [1, 2, 3].map(() => opened(text))
  const [first, ...others] = operations.map(current)
  expect(first?.plan.definition).toBe(getOperationAST(warmed))
  expect(first?.plan.schema).toBe(graph.schema)
  expect(first?.groupKey).toBe(operations[0]?.groupKey)
  for (const it of others) expect(it.plan).toBe(first?.plan)
  if (first) expect(current(first)).toBe(first)
  expect(new Set(planner.mock.calls.map(([document]) => document))).toEqual(new Set([warmed]))
})

test('what is wrong with another operation of the same text ends nothing', () => {
  const text = 'subscription A { inbox { counts { unseen } } } subscription B { ticks { number } }'
  const current = createCurrent(graphOf(withoutTicks, 2))
  expect(current(opened(text, 'A')).plan.service).toBe('notifications')
  const operation = opened(text, 'B')
  for (let again = 0; again < 2; again++) {
    expect(() => current(operation)).toThrow(/not valid any more\. .*ticks/)
  }
})

test('slices: all in order, with turns between for everything else, until it is over', async () => {
  let ms = 0
  const now = vi.spyOn(performance, 'now').mockImplementation(() => ms)
  const done: (number | string)[] = []
  let isGoing = true
  const tell = () => {
    done.push('turn')
    if (isGoing) setImmediate(tell)
  }
  setImmediate(tell)
  const each = (item: number) => {
    done.push(item)
    ms += 2
  }
  await inSlices([1, 2, 3, 4, 5, 6, 7], { each, isOver: () => done.includes(6) })
  isGoing = false
  now.mockRestore()
  expect(done.filter((it) => it !== 'turn')).toEqual([1, 2, 3, 4, 5, 6])
  expect(done.slice(0, 3)).toEqual([1, 2, 3])
  expect(done[3]).toBe('turn')
})

function opened(text: string, name?: string) {
  const document = parse(text)
  const definition = getOperationAST(document, name)
  if (!definition) throw new TypeError('no operation')
  return operationOf(old.planner(document, definition), old.executor, {})
}
