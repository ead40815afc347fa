import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createPeers, type Peers } from './peers.ts'

const servers: Server[] = []
let peers: Peers | undefined
afterEach(async () => {
  await peers?.close()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function replica(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** An address where nobody listens. */
async function gone(): Promise<string> {
  const url = await replica(() => undefined)
  const server = servers.pop() as Server
  server.close()
  await once(server, 'close')
  return url
}

const says =
  (name: string): RequestListener =>
  (_request, response) =>
    void response.end(name)
const get = { method: 'GET', path: '/' } as const

test('replicas take turns, and one that is gone is passed over', async () => {
  peers = createPeers({ a: [await replica(says('1')), await gone(), await replica(says('3'))] })
  const answers: string[] = []
  for (let i = 0; i < 6; i++) answers.push(await (await peers.pool('a').request(get)).body.text())
  expect(answers).toEqual(['1', '3', '3', '1', '3', '3'])
})

test('with all gone it is UPSTREAM_UNAVAILABLE', async () => {
  peers = createPeers({ a: [await gone(), await gone()] })
  await expect(peers.pool('a').request(get)).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' })
})

test('what may have arrived is sent again only when that is harmless', async () => {
  const breaks: RequestListener = (request) => void request.socket.destroy()
  const urls = [await replica(breaks), await replica(says('2'))]
  peers = createPeers({ a: urls })
  const post = { method: 'POST', path: '/', body: '{}' } as const
  await expect(peers.pool('a').request(post)).rejects.toMatchObject({
    code: 'UPSTREAM_UNAVAILABLE',
  })
  await (await peers.pool('a').request(post)).body.text()
  const again = await peers.pool('a').request({ ...post, idempotent: true })
  expect(await again.body.text()).toBe('2')
})

test('a peer that does not answer is a TIMEOUT, and the caller’s own abort is not', async () => {
  peers = createPeers({ a: [await replica(() => undefined)] })
  const pool = peers.pool('a')
  await expect(pool.request({ ...get, signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
    code: 'TIMEOUT',
  })
  await expect(pool.request({ ...get, signal: AbortSignal.abort() })).rejects.toThrow(/abort/i)
})

test('a replica’s kept connections are used again, its fresh ones never', async () => {
  const ports = new Set<number | undefined>()
  const url = await replica((request, response) => {
    ports.add(request.socket.remotePort)
    response.end()
  })
  peers = createPeers({ a: [url] })
  const [only] = peers.pool('a').replicas
  for (let i = 0; i < 20; i++) await (await only?.kept.request(get))?.body.dump()
  const kept = ports.size
  expect(kept).toBeLessThan(5)
  for (let i = 0; i < 20; i++) await (await only?.fresh.request(get))?.body.dump()
  expect(ports.size).toBe(kept + 20)
})

test('an unknown service is a fault of configuration', () => {
  peers = createPeers({})
  expect(() => peers?.pool('toString')).toThrow(/no address of service toString/)
})
