import { idToUuid, parseId } from '@berth/platform/ids'
import { createClient } from 'graphql-ws'
import { decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { createBrowser, signInUpToCallback } from '../browser.ts'
import type { GraphClient } from '../graph-client.ts'
import { signIn } from '../issuer/sign-in.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

const TICKS = 'subscription { allocationUpdated { cursor } }'
const WHO = '{ viewer { user { id } organization { id } membership { id } } }'
const COOKIE = 'berth-loopback'
const SECRET = 'a-secret-of-operators-for-emergencies'
const WITHIN = { timeout: 30_000, interval: 5 }

let berth: TestPlatform
let gateways: string[]
let operator: GraphClient
let admin: GraphClient
let user: { id: string; membershipId: string }
let organizationId: string

beforeAll(async () => {
  berth = await openTestPlatform({ gateway: 2 }, { env: { BERTH_BREAK_GLASS_SECRET: SECRET } })
  gateways = [String(berth.platform.urls.gateway), String(berth.platform.urls['gateway-2'])]
  operator = await berth.graph('operator')
  admin = await berth.graph('admin')
  const { viewer } = await (await berth.graph('user')).get<{
    viewer: { user: { id: string }; organization: { id: string }; membership: { id: string } }
  }>(WHO)
  user = { id: viewer.user.id, membershipId: viewer.membership.id }
  organizationId = viewer.organization.id
})
afterAll(() => berth?.stop())

type Headers = Record<string, string>

/** What somebody presents, in each face's way. */
type Credential = { http: Headers; socket: { params: Headers; headers: Headers } }

function bearer(token: string): Credential {
  const http = { authorization: `Bearer ${token}`, 'berth-organization': organizationId }
  const params = { authorization: `Bearer ${token}`, organizationId }
  return { http, socket: { params, headers: {} } }
}

const tokenOf = async (person: 'user') =>
  bearer(await signIn(String(berth.platform.urls.issuer), person))

async function apiKey(): Promise<Credential & { id: string }> {
  const { apiKeyCreate } = await admin.get<{
    apiKeyCreate: { apiKey: { id: string }; secret: string }
  }>(
    `mutation { apiKeyCreate(input: { name: "robot", scopes: ["allocation:read"] }) { apiKey { id } secret } }`,
  )
  return { ...bearer(apiKeyCreate.secret), id: apiKeyCreate.apiKey.id }
}

async function session() {
  const browser = createBrowser()
  const [gateway = ''] = gateways
  const page = await browser.ask(await signInUpToCallback(browser, gateway, 'user'))
  expect(page.status, page.text).toBe(303)
  const { csrf } = JSON.parse((await browser.ask(`${gateway}/auth/session`)).text) as {
    csrf: string
  }
  const cookie = `${COOKIE}=${browser.cookies.get(COOKIE)}`
  const http = { cookie, origin: gateway, 'berth-csrf': csrf }
  const logout = () => fetch(`${gateways[1]}/auth/logout`, { method: 'POST', headers: http })
  return { http, socket: { params: {}, headers: { cookie, origin: gateway } }, logout }
}

async function codeOf(at: string, { http }: Credential): Promise<string | null> {
  const response = await fetch(`${at}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...http },
    body: JSON.stringify({ query: '{ viewer { roles } }' }),
  })
  const { errors } = (await response.json()) as { errors?: { extensions: { code: string } }[] }
  return errors?.[0]?.extensions.code ?? null
}

/** A connection that is open; resolves with the code that it is closed by. */
async function socketOf(at: string, { socket }: Credential): Promise<() => Promise<number>> {
  class Socket extends WebSocket {
    constructor(url: string, protocols: string) {
      super(url, protocols, { headers: socket.headers })
    }
  }
  const opened = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<number>()
  const client = createClient({
    url: `${at.replace('http', 'ws')}/graphql`,
    webSocketImpl: Socket,
    connectionParams: socket.params,
    retryAttempts: 0,
    on: {
      connected: () => opened.resolve(),
      closed: (event) => closed.resolve((event as { code: number }).code),
    },
  })
  const sink = { next: () => undefined, error: () => undefined, complete: () => undefined }
  client.subscribe({ query: TICKS }, sink)
  await opened.promise
  return () => closed.promise
}

/** An event stream that is open; resolves once the server has ended it. */
async function streamOf(at: string, { http }: Credential): Promise<() => Promise<unknown>> {
  const response = await fetch(`${at}/graphql/stream`, {
    method: 'POST',
    headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...http },
    body: JSON.stringify({ query: TICKS }),
  })
  expect(response.status).toBe(200)
  const ended = response.text()
  return () => ended
}

/** Does it, and tells what each face said at its end, and prints how long that took from the request on. */
async function ends(what: string, credential: Credential, act: () => Promise<unknown>) {
  for (const at of gateways) expect(await codeOf(at, credential)).toBeNull()
  const sockets = await Promise.all(gateways.map((at) => socketOf(at, credential)))
  const streams = await Promise.all(gateways.map((at) => streamOf(at, credential)))
  const startedAt = performance.now()
  const took: Record<string, number> = {}
  const timed = async <T>(face: string, end: Promise<T>): Promise<T> => {
    const value = await end
    took[face] = Math.max(took[face] ?? 0, Math.round(performance.now() - startedAt))
    return value
  }
  const refused = gateways.map((at) =>
    timed(
      'HTTP',
      vi.waitFor(async () => {
        const code = await codeOf(at, credential)
        expect(code).not.toBeNull()
        return code
      }, WITHIN),
    ),
  )
  const closed = sockets.map((it) => timed('WebSocket', it()))
  const ended = streams.map((it) => timed('event stream', it()))
  await act()
  const said = { http: await Promise.all(refused), socket: await Promise.all(closed) }
  await Promise.all(ended)
  const times = Object.entries(took).map(([face, ms]) => `${face} ${ms} ms`)
  console.log(`${what}, at two gateways: ${times.join(', ')}`)
  return said
}

const twice = <T>(value: T) => [value, value]

test('a revoked API key', async () => {
  const key = await apiKey()
  const revoke = () =>
    admin.get(`mutation { apiKeyRevoke(input: { id: "${key.id}" }) { apiKey { state } } }`)
  const said = await ends('a revoked API key', key, revoke)
  expect(said).toEqual({ http: twice('UNAUTHENTICATED'), socket: twice(4401) })
})

test('a session that is logged out', async () => {
  const { logout, ...credential } = await session()
  const said = await ends('a logged-out session', credential, logout)
  expect(said).toEqual({ http: twice('UNAUTHENTICATED'), socket: twice(4401) })
})

test('a suspended person: tokens, sessions and sign-in; another person goes on', async () => {
  const [token, browser] = [await tokenOf('user'), await session()]
  const suspend = `mutation { personSuspend(input: { id: "${user.id}", reason: "abuse" }) { person { suspendedAt } } }`
  const said = await ends('a suspended person', token, () => operator.get(suspend))
  expect(said).toEqual({ http: twice('UNAUTHENTICATED'), socket: twice(4401) })
  for (const at of gateways) expect(await codeOf(at, browser)).toBe('UNAUTHENTICATED')
  const [gateway = ''] = gateways
  const again = createBrowser()
  const page = await again.ask(await signInUpToCallback(again, gateway, 'user'), {
    headers: { accept: 'text/html' },
  })
  expect(page.status).toBe(403)
  expect(page.text).toContain('This account is suspended: contact support')
  expect(again.cookies.has(COOKIE)).toBe(false)
  expect((await admin.get<{ viewer: object }>(WHO)).viewer).not.toBeNull()
  await operator.get(
    `mutation { personReinstate(input: { id: "${user.id}", reason: "cleared" }) { person { suspendedAt } } }`,
  )
  await vi.waitFor(async () => expect(await codeOf(gateway, token)).toBeNull(), WITHIN)
})

test('a suspended organization: its members and keys; what it rented is released', async () => {
  const [token, key] = [await tokenOf('user'), await apiKey()]
  const graph = await berth.graph('user')
  const { allocationCreate } = await graph.get<{
    allocationCreate: { allocation: { id: string } }
  }>(
    `mutation { allocationCreate(input: { name: "a", gpuModel: "a100-sxm4-80gb" }) { allocation { id } } }`,
    {},
    '"one to be released"',
  )
  const suspend = `mutation { organizationSuspend(input: { id: "${organizationId}", reason: "abuse" }) { organization { suspendedAt } } }`
  const said = await ends('a suspended organization', token, () => operator.get(suspend))
  expect(said).toEqual({ http: twice('FORBIDDEN'), socket: twice(4403) })
  for (const at of gateways) expect(await codeOf(at, key)).toBe('UNAUTHENTICATED')
  // Of one that cannot be acted for nobody is asked whether they belong to it.
  const answer = await (
    await fetch(`${gateways[0]}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...token.http },
      body: '{"query":"{ viewer { roles } }"}',
    })
  ).text()
  expect(answer).toContain('This organization is suspended: contact support')
  await vi.waitFor(
    async () =>
      expect(
        await berth.sql('SELECT state, reason FROM allocations.allocations WHERE id = $1', [
          idToUuid(parseId('alc', allocationCreate.allocation.id)),
        ]),
      ).toEqual([{ state: 'RELEASED', reason: 'ADMIN' }]),
    { timeout: 60_000, interval: 200 },
  )
  await operator.get(
    `mutation { organizationReinstate(input: { id: "${organizationId}", reason: "cleared" }) { organization { suspendedAt } } }`,
  )
  for (const at of gateways) {
    await vi.waitFor(async () => expect(await codeOf(at, token)).toBeNull(), WITHIN)
    await vi.waitFor(async () => expect(await codeOf(at, key)).toBeNull(), WITHIN)
  }
})

test('a removed member', async () => {
  const token = await tokenOf('user')
  const remove = `mutation { membershipRemove(input: { id: "${user.membershipId}" }) { membershipId } }`
  const said = await ends('a removed member', token, () => admin.get(remove))
  expect(said).toEqual({ http: twice('FORBIDDEN'), socket: twice(4403) })
})

test('the keys are fetched anew by break glass at every gateway', async () => {
  const response = await fetch(`${gateways[0]}/internal/auth/jwks/refresh`, {
    method: 'POST',
    headers: { authorization: `Bearer ${SECRET}` },
    body: JSON.stringify({ reason: 'a drill' }),
  })
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({ keys: 1, replicas: { confirmed: 2, known: 2 } })
  const audited = await berth.sql(
    `SELECT reason, actor ->> 'svc' AS by FROM policy.audit_events WHERE action = 'signingKeys.refresh'`,
  )
  expect(audited).toEqual([{ reason: 'a drill', by: 'gateway' }])
})

test('a denied key of the issuer: every token, the operator’s included', async () => {
  const token = await signIn(String(berth.platform.urls.issuer), 'admin')
  const { kid } = decodeProtectedHeader(token)
  const browser = await session().catch(() => null)
  const deny = `mutation { signingKeyDeny(input: { keyId: "${kid}", reason: "leaked" }) { deniedSigningKey { keyId } } }`
  const said = await ends('a denied key', bearer(token), () => operator.get(deny))
  expect(said).toEqual({ http: twice('UNAUTHENTICATED'), socket: twice(4401) })
  expect((await operator.ask(WHO)).status).toBe(401)
  // A session was signed in before, and is not a token.
  if (browser) expect(await codeOf(gateways[0] ?? '', browser)).toBeNull()
  // The way back for who has no other key and no session.
  await berth.sql('DELETE FROM policy.denied_signing_keys')
  await vi.waitFor(async () => expect((await operator.ask(WHO)).status).toBe(200), WITHIN)
})
