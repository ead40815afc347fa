import { expect, test } from 'vitest'
import { createSlots } from './slots.ts'

test('no two hold one slot, however many come; the one asked for the longest ago gives way', () => {
  const slots = createSlots(3)
  const held = new Map<number, string>()
  const load = (key: string) => {
    const { slot, isNew } = slots.of(key)
    if (isNew) held.set(slot, key)
    expect(held.get(slot)).toBe(key)
    return isNew
  }
  expect(['a', 'b', 'c'].map(load)).toEqual([true, true, true])
  expect(load('a')).toBe(false)
  expect(load('d'), 'in the place of b').toBe(true)
  expect(['a', 'c', 'd'].map(load)).toEqual([false, false, false])
  expect(load('b')).toBe(true)
  expect(held.size).toBe(3)
})

test('what is dropped leaves its slot to another, and to one alone', () => {
  const slots = createSlots(2)
  const { slot } = slots.of('a')
  slots.of('b')
  slots.drop('a')
  slots.drop('a')
  expect(slots.of('c')).toEqual({ slot, isNew: true })
  expect(slots.of('a').isNew).toBe(true)
  expect(slots.of('a').slot).not.toBe(slots.of('c').slot)
})
