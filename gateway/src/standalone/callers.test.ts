import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DomainError } from '@berth/platform/errors'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { Now, Standing } from '../authentication/standing.ts'
import { createCallers } from './callers.ts'

const DAY_MS = 24 * 60 * 60 * 1_000
const logged: string[] = []
const log = createLog({
  service: 'gateway',
  instance: 'gateway-1',
  destination: { write: (line: string) => void logged.push(line) },
})

let keys: Server
let privateKey: Awaited<ReturnType<typeof generateKeyPair>>['privateKey']
beforeAll(async () => {
  const pair = await generateKeyPair('ES256')
  privateKey = pair.privateKey
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k', alg: 'ES256' }
  keys = createServer((_request, response) => {
    response.end(JSON.stringify({ keys: [jwk] }))
  }).listen(0, '127.0.0.1')
  await once(keys, 'listening')
})
afterAll(() => keys.close())
afterEach(() => vi.useRealTimers())

test('a token that lives longer than any timer stands until it expires, and whatever a listener does', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const standing = await open(new Date(Date.now() + 60 * DAY_MS))
  const told: Now[] = []
  standing.watch(() => {
    throw new Error('a bug')
  })
  standing.watch((now) => told.push(now))
  vi.advanceTimersByTime(59 * DAY_MS)
  expect(told).toEqual([])
  await expect(standing.actor()).resolves.toMatchObject({ kind: 'anonymous' })

  vi.advanceTimersByTime(DAY_MS)
  expect(told).toEqual([expect.any(DomainError)])
  await expect(standing.actor()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  expect(logged.join('\n')).toContain('a bug')
  expect(vi.getTimerCount()).toBe(0)
})

test('a connection that was closed is told nothing', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const standing = await open(new Date(Date.now() + 60 * DAY_MS))
  const told: Now[] = []
  standing.watch((now) => told.push(now))
  vi.advanceTimersByTime(30 * DAY_MS)
  standing.close()
  vi.advanceTimersByTime(60 * DAY_MS)
  expect(told).toEqual([])
})

async function open(expiresAt: Date): Promise<Standing> {
  const { port } = keys.address() as AddressInfo
  const { standings } = createCallers(
    { keysUrl: `http://127.0.0.1:${port}/`, issuer: 'https://issuer.test', audience: 'books' },
    { log, metrics: createMetrics({ service: 'test' }) },
  )
  const token = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .setIssuer('https://issuer.test')
    .setAudience('books')
    .setSubject('ada')
    .setExpirationTime(expiresAt)
    .sign(privateKey)
  const authorization = `Bearer ${token}`
  return standings.open({ authorization, organizationId: undefined, clientIp: '127.0.0.1' }, log)
}
