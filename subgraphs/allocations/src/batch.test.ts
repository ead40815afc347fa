import { expect, test, vi } from 'vitest'
import { batched } from './batch.ts'

test('what is asked for in one turn is one load of each key once, and is asked for anew in the next', async () => {
  const load = vi.fn(
    async (keys: readonly string[]) =>
      new Map(
        keys
          .filter((key) => key !== 'none')
          .map((key) => [key, `${key} ${load.mock.calls.length}`]),
      ),
  )
  const one = batched(load)
  expect(await Promise.all([one('a'), one('b'), one('a'), one('none')])).toEqual([
    'a 1',
    'b 1',
    'a 1',
    null,
  ])
  expect(load.mock.calls).toEqual([[['a', 'b', 'none']]])
  expect(await one('a')).toBe('a 2')
})

test('a failed load fails those who asked, and not those who ask later', async () => {
  const load = vi
    .fn<(keys: readonly string[]) => Promise<Map<string, string>>>()
    .mockRejectedValueOnce(new Error('down'))
    .mockResolvedValueOnce(new Map([['a', 'up']]))
  const one = batched(load)
  const failed = await Promise.allSettled([one('a'), one('b')])
  expect(failed.map((it) => it.status)).toEqual(['rejected', 'rejected'])
  expect(await one('a')).toBe('up')
})
