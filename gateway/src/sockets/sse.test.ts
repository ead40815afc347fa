import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { DomainError } from '@berth/platform/errors'
import { createClient } from 'graphql-sse'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createForwarding } from '../standalone/forwarded.ts'
import { type FaceRig, openFaceRig } from './faces.test-kit.ts'
import type { FaceLimits } from './faces.ts'

const EVENTS = 'subscription ($after: String) { events(after: $after) }'
const JSON_TYPE = { 'content-type': 'application/json' }
const TOKEN = 'x-graphql-event-stream-token'

let rig: FaceRig
async function open(
  limits: FaceLimits = {},
  of: Omit<Parameters<typeof openFaceRig>[0], 'limits'> = {},
): Promise<void> {
  await rig[Symbol.asyncDispose]()
  rig = await openFaceRig({ limits, ...of })
}
beforeEach(async () => {
  rig = await openFaceRig()
})
afterEach(async () => {
  await expect.poll(() => rig.streams.length).toBe(0)
  await expect.poll(() => rig.value('berth_client_event_streams')).toBe(0)
  expect(await rig.value('berth_client_event_stream_operations')).toBe(0)
  expect(await rig.value('berth_client_connections')).toBe(0)
  expect(rig.standings.filter((it) => !it.isClosed)).toEqual([])
  expect(rig.logged.filter((it) => /"level":"(error|fatal)"/.test(it))).toEqual([])
  await rig[Symbol.asyncDispose]()
})

type Answer = { errors?: { message: string; extensions: { code: string } }[] }

const call = (method: string, headers: Record<string, string>, body?: unknown, search = '') =>
  fetch(`${rig.url}/graphql/stream${search}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })

/** What a stream says, event by event; pings left out. */
async function connected(headers: Record<string, string>, body?: unknown) {
  const control = new AbortController()
  const response = await fetch(`${rig.url}/graphql/stream`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { accept: 'text/event-stream', ...JSON_TYPE, ...headers },
    signal: control.signal,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const events: { event: string; data: unknown }[] = []
  let isEnded = false
  const read = (async () => {
    let text = ''
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const [, event, data] = /^event: (\w+)\ndata:(.*)$/.exec(text.slice(0, end)) ?? []
        text = text.slice(end + 2)
        if (event) events.push({ event, data: data ? JSON.parse(data) : null })
      }
    }
  })()
    .catch(() => undefined)
    .finally(() => {
      isEnded = true
    })
  return {
    response,
    events,
    isEnded: () => isEnded,
    async abort() {
      control.abort()
      await read
    },
    ended: read,
  }
}

test('one connection for one operation: its events, and its end after them', async () => {
  const stream = await connected({}, { query: EVENTS, variables: { after: 'p1' } })
  expect(stream.response.status).toBe(200)
  expect(stream.response.headers.get('content-type')).toMatch('text/event-stream')
  expect(rig.streams[0]?.after).toBe('p1')
  rig.emit(1)
  rig.emit(2)
  rig.end(rig.streams[0])
  await stream.ended
  expect(stream.events).toEqual([
    { event: 'next', data: { data: { events: '1' } } },
    { event: 'next', data: { data: { events: '2' } } },
    { event: 'complete', data: null },
  ])
})

test('queries, mutations and what is refused are answered over it, too', async () => {
  for (const [query, data] of [
    ['{ hello }', { data: { hello: 'there' } }],
    ['mutation { set }', { data: { hello: 'there' } }],
    ['{ nothing }', { errors: [expect.objectContaining({ message: expect.any(String) })] }],
    ['{', { errors: [expect.objectContaining({ message: expect.any(String) })] }],
    ['subscription { refused }', { errors: [expect.objectContaining({ message: 'Not this' })] }],
  ] as const) {
    const stream = await connected({}, { query })
    await stream.ended
    expect(stream.events).toEqual([
      { event: 'next', data },
      { event: 'complete', data: null },
    ])
  }
})

test('one connection for all operations of a client, as graphql-sse’s client speaks it', async () => {
  const client = createClient({
    url: `${rig.url}/graphql/stream`,
    singleConnection: true,
    retryAttempts: 0,
    headers: { authorization: 'Bearer a' },
  })
  const first = client.iterate({ query: EVENTS })
  const second = client.iterate({ query: EVENTS })
  const [a, b] = [first.next(), second.next()]
  await expect.poll(() => rig.streams.length).toBe(2)
  rig.emit(1)
  expect((await a).value).toEqual({ data: { events: '1' } })
  expect((await b).value).toEqual({ data: { events: '1' } })
  expect((await client.iterate({ query: '{ hello }' }).next()).value).toEqual({
    data: { hello: 'there' },
  })
  await first.return?.()
  await expect.poll(() => rig.streams.length).toBe(1)
  rig.emit(2)
  expect((await second.next()).value).toEqual({ data: { events: '2' } })
  rig.end(rig.streams[0])
  expect((await second.next()).done).toBe(true)
  client.dispose()
})

test('an operation that is completed while it is admitted is never run, and its id is free', async () => {
  const token = await (await call('PUT', {})).text()
  const stream = await connected({ [TOKEN]: token })
  const post = (query: string) =>
    call('POST', { ...JSON_TYPE, [TOKEN]: token }, { query, extensions: { operationId: '1' } })
  rig.admission = Promise.withResolvers()
  const first = post(EVENTS)
  await expect.poll(() => rig.value('berth_http_request_duration_seconds_count')).toBe(1)
  const isReserved = async () => (await post(EVENTS)).status
  await expect.poll(isReserved).toBe(409)
  expect((await call('DELETE', { [TOKEN]: token }, undefined, '?operationId=1')).status).toBe(200)
  const second = post('{ hello }')
  await expect.poll(isReserved).toBe(409)
  rig.admission.resolve()
  rig.admission = null
  expect((await first).status).toBe(409)
  expect((await second).status).toBe(202)
  await expect.poll(() => stream.events.length).toBe(2)
  expect(stream.events).toEqual([
    { event: 'next', data: { id: '1', payload: { data: { hello: 'there' } } } },
    { event: 'complete', data: { id: '1' } },
  ])
  expect(rig.streams.length).toBe(0)
  await stream.abort()
})

test('a reserved stream is its owner’s alone', async () => {
  const put = await call('PUT', { authorization: 'Bearer a' })
  expect(put.status).toBe(201)
  const token = await put.text()
  expect(token).toMatch(/^[\w-]{32}$/)
  const post = { ...JSON_TYPE, [TOKEN]: token }
  const body = { query: EVENTS, extensions: { operationId: '1' } }
  for (const headers of [{}, { authorization: 'Bearer b' }]) {
    const refused = await call('POST', { ...post, ...headers }, body)
    expect(refused.status).toBe(404)
    expect(((await refused.json()) as Answer).errors?.[0]?.extensions.code).toBe('NOT_FOUND')
    expect((await connected({ ...headers, [TOKEN]: token })).response.status).toBe(404)
  }
  const own = await connected({ authorization: 'Bearer a', [TOKEN]: token })
  expect((await call('POST', { ...post, authorization: 'Bearer a' }, body)).status).toBe(202)
  expect((await connected({ authorization: 'Bearer a', [TOKEN]: token })).response.status).toBe(409)
  rig.emit(1)
  await expect.poll(() => own.events.length).toBe(1)
  await own.abort()
  await expect.poll(() => rig.streams.length).toBe(0)
  expect((await call('POST', { ...post, authorization: 'Bearer a' }, body)).status).toBe(404)
})

test.each([
  ['Bearer first:a', 'Bearer second:a', 202],
  ['Bearer first:a', 'Bearer second:b', 404],
  ['Bearer first:a', 'Bearer other:a', 404],
  ['Bearer key:a', 'Bearer key:a', 202],
  ['Bearer key:a', 'Bearer key:b', 404],
  ['Bearer first:a', 'Bearer key:a', 404],
])('a stream that %s has reserved, asked over by %s: %i', async (by, authorization, status) => {
  await open({ initMs: 300 })
  const token = await (await call('PUT', { authorization: by })).text()
  const headers = { ...JSON_TYPE, [TOKEN]: token, authorization }
  const body = { query: EVENTS, extensions: { operationId: '1' } }
  expect((await call('POST', headers, body)).status).toBe(status)
})

test.each([true, false])(
  'where headers are all that is known, a stream is of those who send the same (shared: %s)',
  async (isShared) => {
    const forwarding = createForwarding(['x-user'], { isShared })
    const credentialsFor = (headers: IncomingHttpHeaders) => {
      const credentials = forwarding(headers)
      return () => credentials
    }
    await open({ initMs: 300 }, { credentialsFor })
    const token = await (await call('PUT', { 'x-user': 'one' })).text()
    const headers = { ...JSON_TYPE, [TOKEN]: token }
    const body = { query: EVENTS, extensions: { operationId: '1' } }
    expect((await call('POST', { ...headers, 'x-user': 'two' }, body)).status).toBe(404)
    expect((await call('POST', headers, body)).status).toBe(404)
    expect((await call('POST', { ...headers, 'x-user': 'one' }, body)).status).toBe(202)
  },
)

test('what is asked for before the stream is connected waits for it; what nobody connects to ends', async () => {
  await open({ initMs: 400 })
  const token = await (await call('PUT', {})).text()
  const headers = { ...JSON_TYPE, [TOKEN]: token }
  const body = { query: EVENTS, extensions: { operationId: '1' } }
  expect((await call('POST', headers, body)).status).toBe(202)
  rig.emit(1)
  rig.emit(2)
  const stream = await connected({ [TOKEN]: token })
  await expect.poll(() => stream.events.length).toBe(2)
  await stream.abort()

  const unused = await (await call('PUT', {})).text()
  expect((await call('POST', { ...headers, [TOKEN]: unused }, body)).status).toBe(202)
  await expect.poll(() => rig.streams.length).toBe(1)
  await expect.poll(() => rig.value('berth_client_event_streams')).toBe(0)
  expect(rig.streams.length).toBe(0)
  expect((await call('POST', { ...headers, [TOKEN]: unused }, body)).status).toBe(404)
})

test.each<[string, string, Record<string, string>, unknown, number, string]>([
  ['a form’s text', 'POST', { 'content-type': 'text/plain' }, '{}', 415, 'BAD_INPUT'],
  [
    'a form’s text that speaks of JSON',
    'POST',
    { 'content-type': 'text/plain; x=application/json' },
    { query: EVENTS },
    415,
    'BAD_INPUT',
  ],
  ['a GET that any page may send', 'GET', {}, undefined, 400, 'BAD_INPUT'],
  ['no JSON', 'POST', JSON_TYPE, '{', 400, 'BAD_INPUT'],
  ['no query', 'POST', JSON_TYPE, {}, 400, 'BAD_INPUT'],
  ['a list', 'POST', JSON_TYPE, [], 400, 'BAD_INPUT'],
  ['variables of no kind', 'POST', JSON_TYPE, { query: EVENTS, variables: [] }, 400, 'BAD_INPUT'],
  ['a body beyond 1 MiB', 'POST', JSON_TYPE, 'x'.repeat(1024 * 1024 + 1), 413, 'TOO_LARGE'],
  ['an unknown token', 'POST', { ...JSON_TYPE, [TOKEN]: 'x' }, { query: EVENTS }, 404, 'NOT_FOUND'],
  [
    'a credential that is not valid',
    'POST',
    { ...JSON_TYPE, authorization: 'Bearer bad' },
    { query: EVENTS },
    401,
    'UNAUTHENTICATED',
  ],
  [
    'an organization of others',
    'POST',
    { ...JSON_TYPE, authorization: 'Bearer foreign' },
    { query: EVENTS },
    403,
    'FORBIDDEN',
  ],
  [
    'sign-in that cannot be checked now',
    'PUT',
    { authorization: 'Bearer away' },
    undefined,
    503,
    'UNAVAILABLE',
  ],
])('%s is refused with its status and code', async (_what, method, headers, body, status, code) => {
  const answer = await call(method, { accept: 'text/event-stream', ...headers }, body)
  expect(answer.status).toBe(status)
  const { errors } = (await answer.json()) as Answer
  expect(errors).toEqual([
    {
      message: expect.any(String),
      extensions: expect.objectContaining({ code, requestId: expect.any(String) }),
    },
  ])
})

test('pages: the preflight allows what the protocol needs, to the origins that may', async () => {
  const preflight = await fetch(`${rig.url}/graphql/stream`, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.test', 'access-control-request-method': 'PUT' },
  })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.test')
  expect(preflight.headers.get('access-control-allow-methods')).toMatch(/PUT.*DELETE/)
  expect(preflight.headers.get('access-control-allow-headers')).toContain(TOKEN)
  const own = await connected({ origin: 'https://app.test' }, { query: '{ hello }' })
  expect(own.response.headers.get('access-control-allow-origin')).toBe('https://app.test')
  await own.ended
  const foreign = await connected({ origin: 'https://evil.test' }, { query: '{ hello }' })
  expect(foreign.response.headers.get('access-control-allow-origin')).toBeNull()
  await foreign.ended
})

test('a GET subscribes, and does nothing else', async () => {
  const get = (query: string) =>
    call(
      'GET',
      { accept: 'text/event-stream', 'apollo-require-preflight': '1' },
      undefined,
      `?query=${encodeURIComponent(query)}`,
    )
  expect(await (await get('{ hello }')).text()).toContain('data: {"data":{"hello":"there"}}')
  expect(await (await get('mutation { set }')).text()).toContain('Mutations are sent by POST')
  expect(rig.executed).toEqual(['{ hello }'])
})

test('whoever loses the right to ask is told so by each stream, and the connection ends', async () => {
  const token = await (await call('PUT', { authorization: 'Bearer a' })).text()
  const own = { authorization: 'Bearer a', [TOKEN]: token }
  const all = await connected(own)
  for (const operationId of ['1', '2']) {
    await call('POST', { ...own, ...JSON_TYPE }, { query: EVENTS, extensions: { operationId } })
  }
  const one = await connected({ authorization: 'Bearer b' }, { query: EVENTS })
  await expect.poll(() => rig.streams.length).toBe(3)
  for (const it of rig.standings) it.set(new DomainError('UNAUTHENTICATED', 'Signed out'))
  await all.ended
  await one.ended
  const errors = [{ message: 'Signed out', extensions: expect.anything() }]
  expect(one.events).toEqual([
    { event: 'next', data: { errors } },
    { event: 'complete', data: null },
  ])
  expect(all.events).toEqual([
    { event: 'next', data: { id: '1', payload: { errors } } },
    { event: 'next', data: { id: '2', payload: { errors } } },
    { event: 'complete', data: { id: '1' } },
    { event: 'complete', data: { id: '2' } },
  ])
})

test('one operation too many of a stream is refused', async () => {
  await open({ operations: 2 })
  const token = await (await call('PUT', {})).text()
  const stream = await connected({ [TOKEN]: token })
  for (const operationId of ['1', '2', '3']) {
    const extensions = { operationId }
    await call('POST', { ...JSON_TYPE, [TOKEN]: token }, { query: EVENTS, extensions })
  }
  await expect.poll(() => stream.events.length).toBe(2)
  expect(stream.events[0]?.data).toMatchObject({
    id: '3',
    payload: { errors: [{ extensions: { code: 'TOO_COMPLEX' } }] },
  })
  expect(rig.streams.length).toBe(2)
  await stream.abort()
})

test('a client that does not read is cut off, and another loses nothing', async () => {
  await open({ queue: { messages: 64, characters: 1024 * 1024 } })
  const other = await connected({}, { query: EVENTS })
  const slow = connect(rig.http.port, '127.0.0.1')
  const body = JSON.stringify({ query: EVENTS })
  slow.write(
    'POST /graphql/stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n' +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  await expect.poll(() => rig.streams.length).toBe(2)
  slow.pause()
  const text = JSON.stringify({ data: { events: 'x'.repeat(64 * 1024) } })
  let sent = 0
  await expect
    .poll(
      () => {
        for (const { client } of [...rig.streams]) client.next(text)
        sent++
        return rig.streams.length
      },
      { interval: 1 },
    )
    .toBe(1)
  await expect.poll(() => other.events.length).toBe(sent)
  expect(other.isEnded()).toBe(false)
  expect(await rig.value('berth_client_event_streams_closed_total', 'SLOW_CLIENT')).toBe(1)
  slow.on('error', () => undefined)
  slow.resume()
  await once(slow, 'close')
  await other.abort()
})

test('a stream in which nothing happens says so every 12 s, so that what carries it keeps it', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  try {
    const control = new AbortController()
    const response = await fetch(`${rig.url}/graphql/stream`, {
      method: 'POST',
      headers: { accept: 'text/event-stream', ...JSON_TYPE },
      body: JSON.stringify({ query: EVENTS }),
      signal: control.signal,
    })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    expect((await reader?.read())?.value).toBe(':\n\n')
    for (let i = 0; i < 3; i++) {
      const said = reader?.read()
      vi.advanceTimersByTime(12_000)
      expect((await said)?.value).toBe(':\n\n')
    }
    control.abort()
    await reader?.closed.catch(() => undefined)
  } finally {
    vi.useRealTimers()
  }
})
