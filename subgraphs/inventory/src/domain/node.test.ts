import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  afterAnswer,
  afterMiss,
  cordoned,
  type NodeStanding,
  secondsToNextProbe,
  uncordoned,
} from './node.ts'

const READY: NodeStanding = { state: 'READY', health: 'HEALTHY', misses: 0 }
const ENROLLING: NodeStanding = { state: 'ENROLLING', health: 'WARNING', misses: 0 }

test('a node is gone after three misses in a row, and back after one answer', () => {
  const missed = [1, 2, 3].reduce<NodeStanding[]>(
    (all) => [...all, afterMiss(all.at(-1)!, 'NO_ANSWER')],
    [READY],
  )
  expect(missed.map(({ state, health }) => [state, health])).toEqual([
    ['READY', 'HEALTHY'],
    ['READY', 'WARNING'],
    ['READY', 'WARNING'],
    ['UNREACHABLE', 'FAILURE'],
  ])
  expect(afterAnswer(missed.at(-1)!, 1, false)).toEqual(READY)
})

test('another host key is a failure at once, which a mere miss does not soften', () => {
  const changed = afterMiss(READY, 'HOST_KEY_CHANGED')
  expect(changed).toMatchObject({ state: 'READY', health: 'FAILURE' })
  expect(afterMiss(changed, 'NO_ANSWER').health).toBe('FAILURE')
})

test('a new node is READY once it has a GPU to rent, and not before', () => {
  expect(afterAnswer(ENROLLING, 0, true).state).toBe('ENROLLING')
  expect(afterAnswer(ENROLLING, 1, true)).toMatchObject({ state: 'READY', health: 'WARNING' })
  const never = [1, 2, 3, 4].reduce((node) => afterMiss(node, 'NO_ANSWER'), ENROLLING)
  expect(never).toMatchObject({ state: 'ENROLLING', health: 'FAILURE' })
  expect(cordoned(ENROLLING)).toBeNull()
  expect(uncordoned(ENROLLING)).toBeNull()
})

test('whatever its probes say, a cordoned node stays cordoned until it is uncordoned', () => {
  const probe = fc.constantFrom('answer', 'miss', 'impostor')
  fc.assert(
    fc.property(fc.array(probe, { maxLength: 20 }), (probes) => {
      const node = probes.reduce<NodeStanding>(
        (it, kind) =>
          kind === 'answer'
            ? afterAnswer(it, 1, false)
            : afterMiss(it, kind === 'miss' ? 'NO_ANSWER' : 'HOST_KEY_CHANGED'),
        cordoned(READY)!,
      )
      expect(node.state).toBe('CORDONED')
      expect(uncordoned(node)).toEqual({ ...node, state: 'READY' })
    }),
  )
})

test('a node that is being enrolled is probed sooner, for a while', () => {
  expect(secondsToNextProbe(READY, 30)).toBe(30)
  expect(secondsToNextProbe({ ...READY, misses: 2 }, 30)).toBe(30)
  expect(secondsToNextProbe({ ...ENROLLING, misses: 1 }, 30)).toBe(3)
  expect(secondsToNextProbe({ ...ENROLLING, misses: 1 }, 2)).toBe(2)
  expect(secondsToNextProbe({ ...ENROLLING, misses: 21 }, 30)).toBe(30)
})
