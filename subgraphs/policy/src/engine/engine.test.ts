import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createLog } from '@berth/platform/log'
import { expect, test } from 'vitest'
import type { PolicyConfig } from '../config.ts'
import { createPolicyEngine } from './engine.ts'

const log = createLog({ service: 'policy', instance: 'policy-1', level: 'silent' })
const config = { BERTH_INSTANCE: 'policy-1' } as PolicyConfig
const forbid = 'forbid(principal, action, resource);'

test('Cedar is the engine unless another one is named', async () => {
  expect(await createPolicyEngine(config, log).validate(forbid, 'PLATFORM')).toEqual([])
})

test('OPA is asked at its address, and cannot be at none', async () => {
  const asked: string[] = []
  await using scope = new AsyncDisposableStack()
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url?.split('/').slice(0, 3).join('/')}`)
    response.writeHead(400).end('{"errors": [{"message": "not Rego"}]}')
  }).listen(0, '127.0.0.1')
  scope.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const opa = { ...config, BERTH_POLICY_ENGINE: 'opa' } as const
  const engine = createPolicyEngine({ ...opa, BERTH_OPA_URL: url }, log)
  expect(await engine.validate(forbid, 'PLATFORM')).toEqual(['not Rego'])
  expect(asked[0]).toBe('PUT /v1/policies')
  expect(() => createPolicyEngine(opa, log)).toThrow('BERTH_OPA_URL is not set')
})
