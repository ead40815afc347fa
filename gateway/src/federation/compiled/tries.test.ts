import { expect, test } from 'vitest'
import { BytesAnswer } from '../answers.ts'
import type { Run } from './run.ts'
import type { Splice } from './splice.ts'
import { createTries, type TryOutcome } from './tries.ts'

const ANSWER = new BytesAnswer('{}', true)
const RUN = {} as Run

test('the first run is not tried, and nothing is compiled for it', async () => {
  let compiled = 0
  const { run, told } = triesOf(() => {
    compiled++
    return async () => ANSWER
  })
  expect(await run()).toBeNull()
  expect(compiled).toBe(0)
  expect(await run()).toBe(ANSWER)
  expect(await run()).toBe(ANSWER)
  expect(compiled).toBe(1)
  expect(told).toEqual(['first', 'spliced', 'spliced'])
})

test('what cannot be spliced is found out once', async () => {
  let compiled = 0
  const { run, told } = triesOf(() => {
    compiled++
    return null
  })
  for (let i = 0; i < 3; i++) expect(await run()).toBeNull()
  expect(compiled).toBe(1)
  expect(told).toEqual(['first', 'impossible', 'impossible'])
})

test('after 20 misses in a row one run of a hundred is tried, until one is spliced', async () => {
  let answer: BytesAnswer | null = null
  const { run, told } = triesOf(() => async () => answer)
  for (let i = 0; i < 21 + 200; i++) await run()
  expect(told.filter((it) => it === 'missed')).toHaveLength(22)
  expect(told.filter((it) => it === 'spared')).toHaveLength(198)
  answer = ANSWER
  for (let i = 0; i < 99; i++) expect(await run()).toBeNull()
  expect(await run()).toBe(ANSWER)
  expect(await run()).toBe(ANSWER)
})

test('a fault of ours, whether it is met in compiling or running, fails no run, and is told', async () => {
  const fault = new TypeError('ours')
  const compiling = triesOf(() => {
    throw fault
  })
  for (let i = 0; i < 3; i++) expect(await compiling.run()).toBeNull()
  expect(compiling.told).toEqual(['first', 'bug', 'impossible'])
  const running = triesOf(() => () => Promise.reject(fault))
  for (let i = 0; i < 3; i++) expect(await running.run()).toBeNull()
  expect(running.told).toEqual(['first', 'bug', 'bug'])
  expect([...compiling.errors, ...running.errors]).toEqual([fault, fault, fault])
})

function triesOf(compile: () => Splice | null) {
  const told: TryOutcome[] = []
  const errors: unknown[] = []
  const tries = createTries(compile, (outcome, error) => {
    told.push(outcome)
    if (outcome === 'bug') errors.push(error)
  })
  return { run: async () => tries(RUN), told, errors }
}
