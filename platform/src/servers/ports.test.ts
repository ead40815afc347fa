import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { assertFree, freeBasePort } from './ports.ts'
import { SetupError } from './setup-error.ts'

test('a taken port is refused in one line that names the port and its holder', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const refusal = await assertFree([port]).catch((error: Error) => error)
  expect(refusal).toBeInstanceOf(SetupError)
  const { message } = refusal as Error
  expect(message).toContain(`Port ${port} on 127.0.0.1 is taken by`)
  expect(message).toContain(`process ${process.pid}`)
  expect(message).toContain('BERTH_PORT')
  expect(message).not.toContain('\n')
  server.close()
})

test('a free range has every port that is asked for', async () => {
  const base = await freeBasePort([0, 10, 42])
  await assertFree([base, base + 10, base + 42])
  expect(base % 100).toBe(0)
})
