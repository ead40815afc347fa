import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import { DomainError } from './errors.ts'
import { type HttpServer, type Routes, startHttp } from './http.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'

const opened: HttpServer[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((server) => server.close()))
})

async function start(routes: Routes, options: Partial<Parameters<typeof startHttp>[0]> = {}) {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  const log = createLog({ service: 's', instance: 's-1', destination })
  const metrics = createMetrics({ service: 's' })
  const base = { host: '127.0.0.1', port: 0, drainSeconds: 5, log, metrics, routes }
  const server = await startHttp({ ...base, ...options })
  opened.push(server)
  return { server, metrics, lines, url: server.url }
}

const echo: Routes = {
  'POST /echo': async (request, reply) => reply.send(200, await request.body()),
  'GET /id': (request, reply) =>
    reply.json(200, { id: request.requestId, trace: request.traceparent }),
  'GET /files/*': (request, reply) => reply.json(200, { path: request.path }),
  'GET /files/deep/*': (_request, reply) => reply.json(200, { path: 'deep' }),
  'GET /bug': () => {
    throw new Error('password=hunter2')
  },
  'GET /limited': () => {
    throw new DomainError('RATE_LIMITED', 'Wait', { retryAfterSeconds: 2 })
  },
}

test('routes are matched exactly, then by the longest prefix', async () => {
  const { url } = await start(echo)
  const get = async (path: string) => (await fetch(url + path)).json()
  expect(await get('/files/a/b?c=d')).toEqual({ path: '/files/a/b' })
  expect(await get('/files/deep/a')).toEqual({ path: 'deep' })
  for (const path of ['/files', '/nope', '/__proto__', '/constructor']) {
    expect(await get(path)).toMatchObject({ error: { code: 'NOT_FOUND' } })
  }
  expect((await fetch(`${url}/echo`)).status).toBe(404)
})

test('an offer of a protocol that is not served is passed over: the request is answered as it is', async () => {
  const { server, url } = await start(echo)
  const post = async (upgrade: string) => {
    const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade, 'http2-settings': 'AAMAAABk' }
    const request = httpRequest(`${url}/echo`, { method: 'POST', headers })
    request.end('hello')
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    return { status: response.statusCode, body: await text(response) }
  }
  // Nobody is there to upgrade anything; then somebody is, but not to this.
  for (const upgrade of ['h2c', 'websocket']) {
    expect(await post(upgrade)).toEqual({ status: 200, body: 'hello' })
  }
  server.server.on('upgrade', (_request, socket) => socket.destroy())
  expect(await post('h2c')).toEqual({ status: 200, body: 'hello' })
  await expect(post('WebSocket')).rejects.toThrow('hang up')
})

test('a request id is taken when it is well formed, and replaced when it could do harm', async () => {
  const { url } = await start(echo)
  const idFor = async (given?: string) => {
    const response = await fetch(`${url}/id`, given ? { headers: { 'x-request-id': given } } : {})
    const { id } = (await response.json()) as { id: string }
    expect(response.headers.get('x-request-id')).toBe(id)
    return id
  }
  expect(await idFor('request-0001')).toBe('request-0001')
  for (const bad of [
    'short',
    'x'.repeat(129),
    'a b c d e f g',
    '"}\\u000a{"x":"y',
    '<script>alert(1)',
  ]) {
    expect(await idFor(bad)).toMatch(/^[0-9a-f-]{36}$/)
  }
  expect(await idFor()).not.toBe(await idFor())
})

test('a trace context is passed on, a malformed one dropped', async () => {
  const { url } = await start(echo)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const seen = async (value: string) =>
    (await fetch(`${url}/id`, { headers: { traceparent: value } })).json()
  expect(await seen(traceparent)).toMatchObject({ trace: traceparent })
  expect(await seen('00-nonsense')).toMatchObject({ trace: null })
})

test('errors have the one shape, and a fault is masked and logged with its request id', async () => {
  const { url, lines } = await start(echo)
  const limited = await fetch(`${url}/limited`)
  expect(limited.status).toBe(429)
  expect(limited.headers.get('retry-after')).toBe('2')
  const bug = await fetch(`${url}/bug`, { headers: { 'x-request-id': 'request-0001' } })
  expect(bug.status).toBe(500)
  expect(await bug.text()).not.toContain('hunter2')
  const logged = lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 'error')
  expect(logged).toHaveLength(1)
  expect(logged[0]).toMatchObject({
    requestId: 'request-0001',
    err: { message: 'password=hunter2' },
  })
})

test('a body beyond the limit is refused with 413, announced or not', async () => {
  const { url } = await start(echo, { maxBodyBytes: 1000 })
  const fits = await fetch(`${url}/echo`, { method: 'POST', body: 'x'.repeat(1000) })
  expect(await fits.text()).toHaveLength(1000)
  const announced = await fetch(`${url}/echo`, { method: 'POST', body: 'x'.repeat(1001) })
  expect(announced.status).toBe(413)
  expect(await announced.json()).toMatchObject({ error: { code: 'TOO_LARGE' } })

  const streamed = httpRequest(`${url}/echo`, { method: 'POST' })
  streamed.on('error', () => undefined)
  streamed.write('x'.repeat(600))
  streamed.write('x'.repeat(600))
  const [response] = (await once(streamed, 'response')) as [IncomingMessage]
  expect(response.statusCode).toBe(413)
  expect(await text(response)).toContain('TOO_LARGE')
  streamed.end('x'.repeat(600))

  for (let i = 0; i < 10; i++) {
    const huge = await fetch(`${url}/echo`, { method: 'POST', body: Buffer.alloc(3_000_000) })
    expect(huge.status).toBe(413)
    await huge.text()
  }
})

test('readiness names what fails, and no cause', async () => {
  let fails = false
  const { url, server } = await start(echo, {
    ready: {
      database: async () => {
        if (fails) throw new Error('password=hunter2')
      },
      redis: async () => undefined,
    },
  })
  expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'ok' })
  expect(await (await fetch(`${url}/readyz`)).json()).toMatchObject({ status: 'ready' })
  fails = true
  const response = await fetch(`${url}/readyz`)
  expect(response.status).toBe(503)
  expect(await response.json()).toEqual({
    status: 'not ready',
    checks: { database: 'failed', redis: 'ok' },
  })
  await server.close()
})

test('metrics count by the route’s pattern: a client cannot add labels', async () => {
  const { url } = await start(echo)
  for (const path of ['/files/a', '/files/b', '/x1', '/x2']) await (await fetch(url + path)).text()
  const metrics = await (await fetch(`${url}/metrics`)).text()
  expect(metrics).toContain('seconds_count{service="s",route="GET /files/*",status="200"} 2')
  expect(metrics).toContain('seconds_count{service="s",route="unmatched",status="404"} 2')
  expect(metrics).not.toContain('/x1')
})

test('draining lets a request in flight end, refuses new ones, and then stops', async () => {
  const entered = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const { server, url } = await start({
    ...echo,
    'GET /slow': async (_request, reply) => {
      entered.resolve()
      await release.promise
      reply.json(200, { done: true })
    },
  })
  // Kept alive and busy, so that the connection outlives the listening socket.
  const pipelined = connect(server.port, '127.0.0.1')
  let answers = ''
  pipelined.on('data', (chunk) => {
    answers += chunk
  })
  pipelined.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
  await entered.promise
  const idle = new Agent({ keepAlive: true })
  const warm = httpRequest(`${url}/id`, { agent: idle }).end()
  const [warmed] = (await once(warm, 'response')) as [IncomingMessage]
  await text(warmed)

  const closed = server.close()
  await expect(fetch(`${url}/id`)).rejects.toThrow()
  release.resolve()
  await closed
  await once(pipelined, 'close')
  expect(answers).toContain('{"done":true}')
  expect(answers.toLowerCase()).toContain('connection: close')
  idle.destroy()
})

test('while draining, a connection that is still open gets 503, and readiness says so', async () => {
  const entered = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const { server } = await start({
    ...echo,
    'POST /slow': async (_request, reply) => {
      entered.resolve()
      await release.promise
      reply.json(200, {})
    },
  })
  const accepted: Socket[] = []
  server.server.on('connection', (socket) => void accepted.push(socket))
  const busy = connect(server.port, '127.0.0.1')
  busy.write('POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')
  await entered.promise
  // Half a request is in flight on the others when draining begins.
  const late = ['/id', '/readyz'].map((path) => {
    const socket = connect(server.port, '127.0.0.1')
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n`)
    return { socket, answer: text(socket) }
  })
  await expect.poll(() => accepted.filter(({ bytesRead }) => bytesRead > 0)).toHaveLength(3)
  const closed = server.close()
  for (const { socket } of late) socket.write('\r\n')
  const answers = await Promise.all(late.map(({ answer }) => answer))
  expect(answers[0]).toMatch(/^HTTP\/1.1 503 .*"code":"UNAVAILABLE"/s)
  expect(answers[1]).toMatch(/^HTTP\/1.1 503 .*{"draining":"failed"}/s)
  release.resolve()
  await closed
  busy.destroy()
})

test('what has not ended at the deadline is cut off', async () => {
  const entered = Promise.withResolvers<void>()
  const { server, url } = await start(
    {
      'GET /hangs': () => {
        entered.resolve()
        return new Promise(() => undefined)
      },
    },
    { drainSeconds: 0.05 },
  )
  const hanging = fetch(`${url}/hangs`)
  hanging.catch(() => undefined)
  await entered.promise
  await server.close()
  await expect(hanging).rejects.toThrow()
})
