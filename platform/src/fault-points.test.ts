import { execFileSync, spawnSync } from 'node:child_process'
import { expect, test, vi } from 'vitest'
import { armFault, fault } from './fault-points.ts'

test('a fault point does nothing until it is armed, and nothing again once disarmed', async () => {
  const action = vi.fn()
  await fault('a')
  const disarm = armFault('a', action)
  await fault('a')
  await fault('b')
  disarm()
  await fault('a')
  expect(action).toHaveBeenCalledOnce()
})

test('an armed point can fail its caller', async () => {
  const disarm = armFault('a', () => {
    throw new Error('here')
  })
  await expect(fault('a')).rejects.toThrow('here')
  disarm()
})

const script = (body: string) => [
  '--input-type=module',
  '--eval',
  `import { armFault, fault } from ${JSON.stringify(new URL('./fault-points.ts', import.meta.url).href)}
   ${body}`,
]

test('BERTH_FAULTS kills a process of the tests at the point it names', () => {
  const env = { ...process.env, BERTH_ENV: 'test', BERTH_FAULTS: 'x,a' }
  const body = `await fault('b'); console.log('passed b'); await fault('a'); console.log('passed a')`
  const { signal, stdout } = spawnSync(process.execPath, script(body), { env })
  expect(signal).toBe('SIGKILL')
  expect(String(stdout)).toBe('passed b\n')
})

test.each(['production', 'development', ''])('in %j there are no fault points', (environment) => {
  const env = { ...process.env, BERTH_ENV: environment, BERTH_FAULTS: 'a' }
  const body = `await fault('a')
    try { armFault('a', () => {}) } catch (error) { console.log(error.message) }`
  const output = execFileSync(process.execPath, script(body), { env }).toString()
  expect(output).toBe('fault points exist in tests only\n')
})
