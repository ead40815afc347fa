import { randomBytes } from 'node:crypto'
import { type Client, createClient } from 'graphql-ws'
import { generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { type Browser, createBrowser, type Page, signInUpToCallback } from '../browser.ts'
import { signIn } from '../issuer/sign-in.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

const COOKIE = 'berth-loopback'
const LOGIN_COOKIE = `${COOKIE}-login`
const VIEWER = '{ viewer { user { name } } }'

let berth: TestPlatform
let gateway: string
let other: string

beforeAll(async () => {
  berth = await openTestPlatform({ gateway: 2 })
  gateway = String(berth.platform.urls.gateway)
  other = String(berth.platform.urls['gateway-2'])
  // All of these browsers have one address.
  await berth.sql(
    `WITH changed AS (
       UPDATE policy.policy_values SET version = version + 1, value = '{"perMinute": 6000, "burst": 1000}'
       WHERE key = 'ratelimit.auth' RETURNING id, version, value
     )
     INSERT INTO policy.policy_changes (setting_id, version, value, actor, reason)
     SELECT id, version, value, '{}', 'many browsers at one address' FROM changed`,
  )
})
afterAll(() => berth?.stop())

type SessionPage = { authenticated: boolean; csrf: string; session: { id: string } }

async function signedIn(person = 'user', browser = createBrowser()) {
  const callback = await signInUpToCallback(browser, gateway, person)
  const page = await browser.ask(callback)
  expect(page.status, page.text).toBe(303)
  return { browser, callback, ...(await sessionOf(browser)) }
}

async function sessionOf(browser: Browser, at = gateway): Promise<SessionPage> {
  return JSON.parse((await browser.ask(`${at}/auth/session`)).text) as SessionPage
}

function post(browser: Browser, query: string, headers: Record<string, string> = {}, at = gateway) {
  return browser.ask(`${at}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: gateway, ...headers },
    body: JSON.stringify({ query }),
  })
}

function codeOf({ text }: Page): string | undefined {
  const body = JSON.parse(text) as {
    errors?: { extensions: { code: string } }[]
    error?: { code: string }
  }
  return body.errors?.[0]?.extensions.code ?? body.error?.code
}

const nameOf = ({ text }: Page) =>
  (JSON.parse(text) as { data?: { viewer?: { user: { name: string } } } }).data?.viewer?.user.name

test('a person signs in, asks, and signs out; the browser is never given a token', async () => {
  const browser = createBrowser()
  const callback = await signInUpToCallback(browser, gateway, 'user', '/allocations?page=2#top')
  const login = browser.seen.find(({ url }) => url.pathname === '/auth/login')
  expect(login?.headers.get('set-cookie')).toMatch(
    /^berth-loopback-login=[\w.-]+; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/,
  )
  const back = await browser.ask(callback)
  expect(back.headers.get('location')).toBe(`${gateway}/allocations?page=2#top`)
  expect(back.headers.getSetCookie()).toEqual([
    expect.stringMatching(
      /^berth-loopback=[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Lax$/,
    ),
    `${LOGIN_COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax`,
  ])
  expect(back.headers.get('cache-control')).toBe('no-store')

  const { csrf, session } = await sessionOf(browser)
  expect(session.id).toMatch(/^ses_/)
  expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }))).toBe('User')
  expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }, other))).toBe('User')

  const out = await browser.ask(`${gateway}/auth/logout`, {
    method: 'POST',
    headers: { origin: gateway, 'berth-csrf': csrf },
  })
  expect(out.status).toBe(200)
  expect(browser.cookies.has(COOKIE)).toBe(false)

  // No JWT, and no code of the gateway's own making, in anything that its pages can read.
  const own = browser.seen.filter(({ url }) => url.href.startsWith(gateway))
  expect(own.length).toBeGreaterThan(4)
  for (const { text, headers } of own) {
    const readable = [...headers].filter(([name]) => name !== 'set-cookie').map(([, it]) => it)
    expect([text, ...readable].join('\n')).not.toMatch(/eyJ[\w-]{10,}|refresh_token|id_token/)
  }
})

test.each<[string, (callback: URL, browser: Browser) => unknown]>([
  ['no state', (callback) => callback.searchParams.delete('state')],
  ['a forged state', (callback) => callback.searchParams.set('state', 'forged')],
  ['a forged code', (callback) => callback.searchParams.set('code', 'forged')],
  ['no code', (callback) => callback.searchParams.delete('code')],
  ['another issuer’s name', (callback) => callback.searchParams.set('iss', 'https://evil.example')],
  ['no login cookie', (_callback, browser) => browser.cookies.delete(LOGIN_COOKIE)],
  [
    'a login cookie that was changed',
    (_callback, browser) => {
      const sealed = browser.cookies.get(LOGIN_COOKIE) ?? ''
      const at = sealed.length - 30
      const changed = sealed[at] === 'A' ? 'B' : 'A'
      browser.cookies.set(LOGIN_COOKIE, sealed.slice(0, at) + changed + sealed.slice(at + 1))
    },
  ],
  [
    'a login cookie made elsewhere',
    (_callback, browser) => browser.cookies.set(LOGIN_COOKIE, 'eyJhbGciOiJub25lIn0.e30.'),
  ],
])('a return from the issuer with %s signs nobody in', async (_what, spoil) => {
  const browser = createBrowser()
  const callback = await signInUpToCallback(browser, gateway, 'user')
  spoil(callback, browser)
  const page = await browser.ask(callback, { headers: { accept: 'text/html' } })
  expect(page.status).toBe(400)
  expect(page.text).toContain('<h1>Not signed in</h1>')
  expect(browser.cookies.has(COOKIE)).toBe(false)
  expect(browser.cookies.has(LOGIN_COOKIE)).toBe(false)
})

test('a return is good once, for the browser that left', async () => {
  const attacker = createBrowser()
  const injected = await signInUpToCallback(attacker, gateway, 'admin')
  // Into a browser that has begun nothing, and into one that has begun its own.
  const idle = createBrowser()
  const busy = createBrowser()
  await signInUpToCallback(busy, gateway, 'user')
  for (const victim of [idle, busy]) {
    expect((await victim.ask(injected)).status).toBe(400)
    expect(victim.cookies.has(COOKIE)).toBe(false)
  }
  const kept = attacker.cookies.get(LOGIN_COOKIE) ?? ''
  expect((await attacker.ask(injected)).status).toBe(303)
  expect((await attacker.ask(injected)).status).toBe(400)
  attacker.cookies.set(LOGIN_COOKIE, kept)
  attacker.cookies.delete(COOKIE)
  expect((await attacker.ask(injected)).status).toBe(400)
  expect(attacker.cookies.has(COOKIE)).toBe(false)
})

test('a session cookie that was planted before the sign-in is worth nothing after it', async () => {
  const browser = createBrowser()
  const planted = randomBytes(32).toString('base64url')
  browser.cookies.set(COOKIE, planted)
  await signedIn('user', browser)
  expect(browser.cookies.get(COOKIE)).not.toBe(planted)
  const thief = createBrowser()
  thief.cookies.set(COOKIE, planted)
  expect((await sessionOf(thief)).authenticated).toBe(false)
})

test('a second sign-in ends the session that the browser had', async () => {
  const { browser, csrf } = await signedIn('user')
  const before = createBrowser()
  before.cookies.set(COOKIE, browser.cookies.get(COOKIE) ?? '')
  await signedIn('user', browser)
  await vi.waitFor(async () =>
    expect((await post(before, VIEWER, { 'berth-csrf': csrf })).status).toBe(401),
  )
})

test('the cookie alone is not enough: another site’s page has it sent, and cannot read', async () => {
  const { browser, csrf } = await signedIn()
  const someone = await signedIn('admin')
  const attempts: Record<string, string>[] = [
    {},
    { 'berth-csrf': '' },
    { 'berth-csrf': 'x'.repeat(csrf.length) },
    { 'berth-csrf': someone.csrf },
    { 'berth-csrf': csrf, origin: 'https://evil.example' },
    { 'berth-csrf': csrf, origin: 'null' },
    { 'berth-csrf': csrf, origin: `${gateway}.evil.example` },
  ]
  for (const headers of attempts) {
    const page = await post(browser, VIEWER, headers)
    expect([page.status, codeOf(page)], JSON.stringify(headers)).toEqual([403, 'FORBIDDEN'])
  }
  // A simple request, as a form makes it, and a sign-out that nobody meant.
  const form = await browser.ask(`${gateway}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain', origin: 'https://evil.example' },
    body: JSON.stringify({ query: VIEWER }),
  })
  expect(form.status).toBe(403)
  for (const headers of [{}, { origin: 'https://evil.example', 'berth-csrf': csrf }]) {
    const out = await browser.ask(`${gateway}/auth/logout`, { method: 'POST', headers })
    expect(out.status).toBe(403)
  }
  // Without the cookie, which browsers keep back from it; the answer could clear it all the same.
  const bare = await createBrowser().ask(`${gateway}/auth/logout`, {
    method: 'POST',
    headers: { origin: 'https://evil.example' },
  })
  expect([bare.status, bare.headers.getSetCookie()]).toEqual([403, []])
  const read = await browser.ask(`${gateway}/auth/session`, {
    headers: { origin: 'https://evil.example' },
  })
  expect(read.status).toBe(403)
  expect(read.headers.get('access-control-allow-origin')).toBeNull()
  expect(read.text).not.toContain(csrf)
  expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }))).toBe('User')
})

test('a cookie that is not a session’s is refused, and never anonymous', async () => {
  const { browser, csrf } = await signedIn()
  const token = browser.cookies.get(COOKIE) ?? ''
  const values = [
    randomBytes(32).toString('base64url'),
    `${token.slice(0, -1)}${token.endsWith('A') ? 'E' : 'A'}`,
    token.slice(1),
    `${token}x`,
    '',
    'null',
    '%00',
    `"${token}"`,
    `${token}; ${COOKIE}=${token}`,
  ]
  for (const value of values) {
    const page = await post(createBrowser(), VIEWER, {
      cookie: `${COOKIE}=${value}`,
      'berth-csrf': csrf,
    })
    expect([401, 403], value).toContain(page.status)
    expect(page.text, value).not.toContain('viewer')
  }
})

const TICKS = 'subscription { allocationUpdated { cursor } }'

/** A WebSocket of the browser's, subscribed; `closed` tells by which code it has ended. */
async function socketOf(browser: Browser, at: string, origin: string | undefined = gateway) {
  const cookie = `${COOKIE}=${browser.cookies.get(COOKIE)}`
  class BrowserSocket extends WebSocket {
    constructor(url: string, protocols: string) {
      super(url, protocols, { headers: { cookie, ...(origin ? { origin } : {}) } })
    }
  }
  const closed = Promise.withResolvers<number>()
  const connected = Promise.withResolvers<void>()
  const client: Client = createClient({
    url: `${at.replace('http', 'ws')}/graphql`,
    webSocketImpl: BrowserSocket,
    retryAttempts: 0,
    lazy: false,
    onNonLazyError: () => undefined,
    on: {
      connected: () => connected.resolve(),
      closed: (event) => {
        const { code } = event as { code: number }
        closed.resolve(code)
        connected.reject(new Error(`closed with ${code}`))
      },
      error: () => undefined,
    },
  })
  connected.promise.catch(() => undefined)
  return { client, closed: closed.promise, connected: connected.promise }
}

test('a WebSocket by cookie needs the Origin of one of our pages', async () => {
  const { browser } = await signedIn()
  const bare = await socketOf(browser, gateway, '')
  await expect(bare.connected).rejects.toThrow('4403')
  const evil = await socketOf(browser, gateway, 'https://evil.example')
  await expect(evil.connected).rejects.toThrow('1006')
  const ours = await socketOf(browser, gateway)
  await ours.connected
  await ours.client.dispose()
})

/** Milliseconds from when it was done until every one of these has ended. */
async function timeToEnd(act: () => Promise<unknown>, ends: Promise<unknown>[]): Promise<number> {
  await act()
  const startedAt = performance.now()
  await Promise.all(ends)
  return Math.round(performance.now() - startedAt)
}

/** An event stream of the browser's; resolves when it has ended. */
async function eventsOf(browser: Browser, csrf: string, at: string) {
  const response = await fetch(`${at}/graphql/stream`, {
    method: 'POST',
    headers: {
      accept: 'text/event-stream',
      'content-type': 'application/json',
      origin: gateway,
      cookie: `${COOKIE}=${browser.cookies.get(COOKIE)}`,
      'berth-csrf': csrf,
    },
    body: JSON.stringify({ query: TICKS }),
  })
  expect(response.status).toBe(200)
  return { ended: response.text() }
}

test.each<[string, (it: Awaited<ReturnType<typeof signedIn>>) => Promise<unknown>]>([
  [
    'a logout at another gateway',
    ({ browser, csrf }) =>
      browser.ask(`${other}/auth/logout`, {
        method: 'POST',
        headers: { origin: gateway, 'berth-csrf': csrf },
      }),
  ],
  [
    'a revocation in the graph, from another browser',
    async ({ session }) => {
      const { browser, csrf } = await signedIn()
      const page = await post(
        browser,
        `mutation { sessionRevoke(input: { id: "${session.id}" }) { sessionId } }`,
        { 'berth-csrf': csrf },
        other,
      )
      expect(JSON.parse(page.text)).toEqual({ data: { sessionRevoke: { sessionId: session.id } } })
    },
  ],
  [
    'a sign-out at the issuer, which tells us',
    async ({ browser }) => {
      const end = await browser.go(`${berth.platform.urls.issuer}/session/end`)
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(end.text)?.[1] ?? ''
      const form = new URLSearchParams({ xsrf, logout: 'yes' })
      await browser.go(`${berth.platform.urls.issuer}/session/end/confirm`, { form })
    },
  ],
  ['idleness', ({ session }) => change(session.id, `last_used_at = now() - interval '31 min'`)],
  [
    'age',
    ({ session }) => change(session.id, `created_at = now() - interval '13 h', expires_at = now()`),
  ],
])('%s ends requests, WebSockets and event streams at every gateway', async (what, act) => {
  const it = await signedIn()
  const { browser, csrf } = it
  const held = createBrowser()
  held.cookies.set(COOKIE, browser.cookies.get(COOKIE) ?? '')
  for (const at of [gateway, other]) {
    expect(nameOf(await post(held, VIEWER, { 'berth-csrf': csrf }, at))).toBe('User')
  }
  const sockets = [await socketOf(held, gateway), await socketOf(held, other)]
  await Promise.all(sockets.map(({ connected }) => connected))
  const streams = [await eventsOf(held, csrf, gateway), await eventsOf(held, csrf, other)]
  const refused = [gateway, other].map((at) =>
    vi.waitFor(
      async () => expect((await post(held, VIEWER, { 'berth-csrf': csrf }, at)).status).toBe(401),
      { timeout: 20_000, interval: 100 },
    ),
  )
  const took = await timeToEnd(
    () => act(it),
    [...refused, ...streams.map(({ ended }) => ended), ...sockets.map(({ closed }) => closed)],
  )
  console.log(`${what}: all ended ${took} ms later`)
  expect(await Promise.all(sockets.map(({ closed }) => closed))).toEqual([4401, 4401])
})

test('a logout token that the issuer has not signed ends nothing', async () => {
  const { browser, csrf, session } = await signedIn()
  const claims = {
    iss: String(berth.platform.urls.issuer),
    aud: 'berth-browser',
    sub: 'user',
    jti: session.id,
    iat: Math.floor(Date.now() / 1_000),
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
  }
  const encoded = (it: object) => Buffer.from(JSON.stringify(it)).toString('base64url')
  const { privateKey } = await generateKeyPair('ES256')
  const foreign = new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'logout+jwt' })
  const tokens = [
    await foreign.sign(privateKey),
    `${encoded({ alg: 'none' })}.${encoded(claims)}.`,
    await signIn(String(berth.platform.urls.issuer), 'user'),
    '',
  ]
  for (const token of tokens) {
    const page = await createBrowser().ask(`${gateway}/auth/backchannel-logout`, {
      method: 'POST',
      body: new URLSearchParams({ logout_token: token }),
    })
    expect([page.status, page.text]).toEqual([400, '{"error":"invalid_request"}'])
  }
  expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }))).toBe('User')
})

test('the issuer is asked again, by one at a time; when it does not know them, it is over', async () => {
  const { browser, csrf, session } = await signedIn()
  const sealed = async () =>
    (
      await berth.sql<{ refresh_token_enc: string; due: boolean; leased: boolean }>(
        `SELECT refresh_token_enc, refresh_at <= now() AS due, refresh_lease IS NOT NULL AS leased
         FROM policy.sessions WHERE id = ${uuidOf(session.id)}`,
      )
    )[0]
  const first = await sealed()
  expect(first?.refresh_token_enc).toMatch(/^v1\./)
  await change(session.id, 'refresh_at = now()')
  await forgetWhatIsKnownOf(session.id)
  await vi.waitFor(
    async () => {
      await Promise.all(
        [gateway, other].map((at) => post(browser, VIEWER, { 'berth-csrf': csrf }, at)),
      )
      const now = await sealed()
      expect(now).toMatchObject({ due: false, leased: false })
      expect(now?.refresh_token_enc).not.toBe(first?.refresh_token_enc)
    },
    { timeout: 20_000, interval: 100 },
  )
  expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }))).toBe('User')

  const socket = await socketOf(browser, other)
  await socket.connected
  // It keeps its sign-ins in memory: after this it knows nobody's.
  await berth.platform.restart('issuer')
  await change(session.id, 'refresh_at = now()')
  await vi.waitFor(
    async () => {
      // Found again for the socket, without a request: that is enough to ask the issuer.
      await forgetWhatIsKnownOf(session.id)
      const [ended] = await berth.sql<{ end_reason: string }>(
        `SELECT end_reason FROM policy.sessions WHERE id = ${uuidOf(session.id)}`,
      )
      expect(ended?.end_reason).toBe('ISSUER')
    },
    { timeout: 30_000, interval: 1_000 },
  )
  expect(await socket.closed).toBe(4401)
})

test('without Redis sessions are found in Postgres; without policy it is 503, never nobody', async () => {
  const { browser, csrf } = await signedIn()
  await berth.platform.down('redis')
  const fresh = await vi.waitFor(
    async () => {
      const page = await post(browser, VIEWER, { 'berth-csrf': csrf }, other)
      expect(nameOf(page)).toBe('User')
      return page
    },
    { timeout: 20_000 },
  )
  expect(fresh.status).toBe(200)
  // Whoever begins a sign-in is counted, and nobody is let past uncounted.
  expect((await createBrowser().ask(`${gateway}/auth/login`)).status).toBe(503)
  await berth.platform.up('redis')
  await berth.platform.down('policy')
  const outcomes = new Set<string>()
  await vi.waitFor(
    async () => {
      const page = await post(browser, '{ __typename }', { 'berth-csrf': csrf })
      outcomes.add(`${page.status} ${codeOf(page) ?? 'OK'}`)
      expect(page.status).toBe(503)
    },
    { timeout: 30_000, interval: 100 },
  )
  outcomes.delete('200 OK')
  expect([...outcomes]).toEqual(['503 UNAVAILABLE'])
  const out = await browser.ask(`${gateway}/auth/logout`, {
    method: 'POST',
    headers: { origin: gateway, 'berth-csrf': csrf },
  })
  expect(out.status).toBeGreaterThanOrEqual(500)
  expect(browser.cookies.has(COOKIE)).toBe(true)
  await berth.platform.up('policy')
  await vi.waitFor(
    async () => expect(nameOf(await post(browser, VIEWER, { 'berth-csrf': csrf }))).toBe('User'),
    { timeout: 30_000, interval: 200 },
  )
})

/** Gateways find out about it anew, by the feed, since a refresh that is due now was not before. */
function forgetWhatIsKnownOf(id: string): Promise<unknown> {
  return berth.sql(
    `SELECT policy.append_revocations('credential', ARRAY['ses:' || ${uuidOf(id)}], 'test')`,
  )
}

/** As an operator with plain SQL. */
function change(id: string, text: string): Promise<unknown> {
  return berth.sql(`UPDATE policy.sessions SET ${text} WHERE id = ${uuidOf(id)}`)
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

function uuidOf(id: string): string {
  let bits = 0n
  for (const letter of id.slice(4)) bits = bits * 32n + BigInt(ALPHABET.indexOf(letter))
  const hex = bits.toString(16).padStart(32, '0')
  const parts = [0, 8, 12, 16, 20].map((from, n) => hex.slice(from, [8, 12, 16, 20, 32][n]))
  return `'${parts.join('-')}'::uuid`
}
