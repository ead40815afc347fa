import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { lock, tryLock } from './lock.ts'
import { testDirectory } from './test-directory.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

test('of two takers one gets the lock, and the other when it is released', async () => {
  using directory = testDirectory()
  const file = path.join(directory.path, 'lock')
  const first = await lock(file)
  expect(tryLock(file)).toBeUndefined()
  let waited = false
  const second = lock(file, () => {
    waited = true
  })
  await eventually(() => waited).toBe(true)
  first.release()
  ;(await second).release()
})

test('a lock that nobody refers to any more is still held', async () => {
  using directory = testDirectory()
  const file = path.join(directory.path, 'lock')
  const source = `import { tryLock } from ${JSON.stringify(path.join(import.meta.dirname, 'lock.ts'))}
    ;(() => void tryLock(${JSON.stringify(file)}))()
    for (let round = 0; round < 5; round++) { gc(); await new Promise((next) => setTimeout(next, 20)) }
    console.log('collected'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '--eval', source])
  await once(child.stdout, 'data')
  expect(tryLock(file)).toBeUndefined()
  child.kill('SIGKILL')
  await once(child, 'exit')
})

test('a holder that is killed holds nothing', async () => {
  using directory = testDirectory()
  const file = path.join(directory.path, 'lock')
  const source = `import { tryLock } from ${JSON.stringify(path.join(import.meta.dirname, 'lock.ts'))}
    globalThis.held = tryLock(${JSON.stringify(file)}); console.log('held'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source])
  await once(child.stdout, 'data')
  expect(tryLock(file)).toBeUndefined()
  child.kill('SIGKILL')
  await once(child, 'exit')
  const taken = tryLock(file)
  expect(taken).toBeDefined()
  taken?.release()
})
