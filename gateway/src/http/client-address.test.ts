import { createClient } from 'graphql-ws'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'

const QUERY = { query: '{ __typename }' }
const JSON_TYPE = { 'content-type': 'application/json' }
const INVENTED = '198.51.100.1'

let platform: TestPlatform
let trusting: TestGateway
let direct: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  const env = {
    BERTH_BREAK_GLASS_SECRET: 'break-glass-0123456789-abcdefghijklmnop',
    OIDC_CLIENT_ID: 'gateway',
    OIDC_CLIENT_SECRET: 'secret-0123456789',
    BERTH_PUBLIC_URL: 'http://localhost:4000',
    BERTH_CONNECTIONS_PER_ADDRESS: 2,
  }
  trusting = await platform.gateway({ env: { ...env, BERTH_TRUSTED_PROXIES: ['127.0.0.0/8'] } })
  direct = await platform.gateway({ env })
})
afterAll(() => platform[Symbol.asyncDispose]())

type Headers = Record<string, string>

async function send(of: TestGateway, path: string, headers: Headers, body?: string) {
  const method = body === undefined ? 'GET' : 'POST'
  const init = { method, headers, ...(body === undefined ? {} : { body }) }
  await (await fetch(`${of.http.url}${path}`, { ...init, redirect: 'manual' })).text()
}

function webSocketFrom(headers: Headers): typeof WebSocket {
  return class extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, { headers })
    }
  } as unknown as typeof WebSocket
}

async function overSocket(of: TestGateway, headers: Headers) {
  const client = createClient({
    url: `${of.http.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: webSocketFrom(headers),
    retryAttempts: 0,
  })
  for await (const _ of client.iterate(QUERY)) break
  await client.dispose()
}

/** What each way in counts for an address, as the limiter keeps it. */
const FACES: readonly [string, string, (of: TestGateway, headers: Headers) => Promise<void>][] = [
  ['HTTP', 'rate:query:ip:', async (of, headers) => void (await of.ask(QUERY, headers))],
  [
    'a bad credential',
    'rate:auth:ip:',
    async (of, headers) => void (await of.ask(QUERY, { ...headers, authorization: 'Bearer x' })),
  ],
  ['a WebSocket', 'rate:query:ip:', overSocket],
  [
    'an event stream',
    'rate:query:ip:',
    (of, headers) =>
      send(
        of,
        '/graphql/stream',
        { ...headers, ...JSON_TYPE, accept: 'text/event-stream' },
        JSON.stringify(QUERY),
      ),
  ],
  ['a sign-in', 'rate:auth:ip:', (of, headers) => send(of, '/auth/callback?code=x', headers)],
  [
    'the break-glass route',
    'rate:break-glass:guess:',
    (of, headers) => send(of, '/internal/auth/jwks/refresh', headers, ''),
  ],
]

test.each(FACES)('over %s the address is what the proxy appended', async (_face, key, ask) => {
  const client = `203.0.113.${FACES.findIndex(([face]) => face === _face) + 1}`
  await platform.redis.del(`${key}${client}`, `${key}${INVENTED}`)
  await ask(trusting, { 'x-forwarded-for': `${INVENTED}, ${client}` })
  expect(await platform.redis.exists(`${key}${client}`)).toBe(1)
  expect(await platform.redis.exists(`${key}${INVENTED}`)).toBe(0)
})

test.each(FACES)('over %s a header of anyone else changes nothing', async (_face, key, ask) => {
  await platform.redis.del(`${key}127.0.0.1`, `${key}${INVENTED}`)
  await ask(direct, { 'x-forwarded-for': INVENTED, forwarded: `for=${INVENTED}` })
  expect(await platform.redis.exists(`${key}127.0.0.1`)).toBe(1)
  expect(await platform.redis.exists(`${key}${INVENTED}`)).toBe(0)
})

test('places for connections are those of the address behind the proxy', async () => {
  const open = (forwarded: string) =>
    new Promise<{ status: number; socket: WebSocket }>((resolve) => {
      const url = `${trusting.http.url.replace('http', 'ws')}/graphql`
      const headers = { 'x-forwarded-for': forwarded }
      const socket = new WebSocket(url, 'graphql-transport-ws', { headers })
      socket.on('error', () => undefined)
      socket.once('open', () => resolve({ status: 101, socket }))
      socket.once('unexpected-response', (_request, { statusCode = 0 }) =>
        resolve({ status: statusCode, socket }),
      )
    })
  const opened = []
  const from = ['192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2', `${INVENTED}, 192.0.2.1`]
  for (const it of from) opened.push(await open(it))
  expect(opened.map((it) => it.status)).toEqual([101, 101, 429, 101, 429])
  for (const { socket } of opened) socket.terminate()
})

test('a list of proxies that is none, or is everyone, is refused at start', async () => {
  const start = (BERTH_TRUSTED_PROXIES: string[]) =>
    platform.gateway({ env: { BERTH_ENV: 'production', BERTH_TRUSTED_PROXIES } })
  await expect(start(['0.0.0.0/0'])).rejects.toThrow('BERTH_TRUSTED_PROXIES: 0.0.0.0/0 is too wide')
  await expect(start(['proxy'])).rejects.toThrow('BERTH_TRUSTED_PROXIES: proxy is not a CIDR')
})
