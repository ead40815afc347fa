import { afterEach, expect, test, vi } from 'vitest'
import { readiness } from './health.ts'
import { createLog } from './log.ts'

const log = createLog({ service: 's', instance: 's-1', level: 'silent' })

afterEach(() => {
  vi.useRealTimers()
})

test('all checks are asked at once, and one that fails or throws is named', async () => {
  const checks = {
    good: async () => undefined,
    bad: async () => Promise.reject(new Error('no')),
    throws: () => {
      throw new Error('no')
    },
  }
  expect(await readiness(checks, { draining: false, log })).toEqual({
    status: 'not ready',
    checks: { good: 'ok', bad: 'failed', throws: 'failed' },
  })
})

test('a check that never answers has failed after two seconds', async () => {
  vi.useFakeTimers()
  const asked = readiness({ hangs: () => new Promise(() => undefined) }, { draining: false, log })
  await vi.advanceTimersByTimeAsync(2_000)
  expect(await asked).toEqual({ status: 'not ready', checks: { hangs: 'failed' } })
})

test('while draining it is never ready', async () => {
  expect((await readiness({}, { draining: false, log })).status).toBe('ready')
  expect((await readiness({}, { draining: true, log })).status).toBe('not ready')
})
