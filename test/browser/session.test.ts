import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { hunt } from './hunt.ts'
import { type App, everythingInReach, type Init, subscribe } from './in-page.ts'
import { eventSource, frame, script, submit } from './intruder.ts'
import { graphql, openRig, type Rig, request, signIn } from './rig.ts'
import type { Exchange } from './traffic.ts'

const WITHIN = { timeout: 60_000, interval: 100 }
const VIEWER = '{ viewer { user { name } organization { name } roles } }'
const UPDATES = 'subscription { allocationUpdated { cursor event { state } allocation { id } } }'
const ORGANIZATIONS = `SELECT count(*)::int AS count FROM policy.organizations WHERE name = $1`

describe.each(['http', 'https'] as const)('over %s', (scheme) => {
  let rig: Rig

  beforeAll(async () => {
    rig = await openRig(scheme)
  })
  afterAll(() => rig?.[Symbol.asyncDispose]())

  test('a person signs in and works; no token is anywhere that a script could look', async () => {
    const { context, page, traffic } = await rig.person()
    await page.goto(`${rig.origin}/app`)
    const before = await request(page, '/auth/session')
    expect(JSON.parse(before.text)).toMatchObject({ authenticated: false })
    await signIn(page, rig.origin)

    const viewer = await graphql(page, VIEWER)
    expect(JSON.parse(viewer.text)).toMatchObject({ data: { viewer: { user: { name: 'User' } } } })
    await connect(page)
    const id = await rent(page)
    await vi.waitFor(async () => {
      const { frames } = await appOf(page)
      expect(frames.filter(({ type }) => type === 'error')).toEqual([])
      expect(JSON.stringify(frames)).toContain(id)
    }, WITHIN)
    // Whatever else a page can ask that has to do with its session, or goes wrong.
    await graphql(page, '{ sessions { id createdAt } }')
    await graphql(page, '{ nothing }')
    await request(page, '/auth/callback?code=x&state=y')
    await request(page, '/auth/login?returnTo=https://evil.example')
    await request(page, '/auth/session', { headers: { 'berth-csrf': '' } })

    const cookies = await context.cookies(rig.origin)
    const session = cookies.find(({ name }) => name === rig.cookieName)
    expect(session).toMatchObject({
      path: '/',
      domain: '127.0.0.1',
      httpOnly: true,
      sameSite: 'Lax',
      secure: scheme === 'https',
    })
    expect(cookies.filter(({ httpOnly }) => !httpOnly)).toEqual([])
    const answers = await traffic.answers()
    for (const line of cookiesSet(answers)) expect(line).toMatch(/; ?httponly/i)
    const loginCookie = cookiesSet(answers)
      .map((line) => /^[\w-]+-login=([^;]+)/.exec(line)?.[1])
      .find((value) => value !== undefined)
    const [tokens, ...others] = rig.issued()
    expect(others).toEqual([])
    const secrets = {
      ...tokens,
      'session cookie': String(session?.value),
      'login cookie': String(loginCookie),
      'client secret': String(rig.berth.platform.env('gateway').OIDC_CLIENT_SECRET),
    }
    expect(Object.keys(secrets)).toHaveLength(7)

    const inReach = await page.evaluate(everythingInReach)
    expect(inReach.map(({ place }) => place)).toContain('window.app')
    expect(inReach.find(({ place }) => place === 'window.app')?.text).toContain(id)
    const code = codeOf(answers)
    expect(hunt(inReach, { ...secrets, code })).toEqual([])
    expect(hunt(await traffic.readable(), secrets)).toEqual([])

    // The code has gone through the browser, in two places, and is worth nothing any more.
    const places = hunt(await traffic.readable(), { code })
    expect(places).toHaveLength(2)
    expect(places[0]).toMatch(/^code in http:\/\/127\.0\.0\.1:\d+\/auth\/[\w-]+$/)
    expect(places[1]).toContain(`code in ${rig.origin}/auth/callback?`)
    await expectUseless(code)
    const again = await request(page, callbackOf(answers))
    expect(again.status).toBe(400)

    // What was looked through is what there is: the same hunt finds the value where it is planted.
    await page.evaluate(
      (it) => Object.assign(window, { planted: { it } }),
      secrets['session cookie'],
    )
    expect(hunt(await page.evaluate(everythingInReach), secrets)).toEqual([
      'session cookie in window.planted',
    ])
    await context.close()
  })

  /** By whoever has the client's own secret, and by another public client of the issuer. */
  async function expectUseless(code: string): Promise<void> {
    const { OIDC_CLIENT_ID: id, OIDC_CLIENT_SECRET: secret } = rig.berth.platform.env('gateway')
    const form = (more: Record<string, string>) =>
      new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        redirect_uri: `${rig.origin}/auth/callback`,
        code_verifier: 'x'.repeat(43),
        ...more,
      })
    const basic = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
    for (const [body, headers] of [
      [form({}), { authorization: basic }],
      [form({ client_id: 'berth-cli' }), {}],
    ] as const) {
      const url = `${rig.berth.platform.urls.issuer}/token`
      const response = await fetch(url, { method: 'POST', body, headers })
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: 'invalid_grant' },
      ])
    }
  }

  test.each<[string, (page: Page) => Promise<unknown>]>([
    [
      'a sign-out in one tab',
      async (page) => {
        const out = await request(page, '/auth/logout', { method: 'POST' })
        expect(out.status).toBe(200)
      },
    ],
    [
      'a sign-out at the issuer',
      async (page) => {
        await page.goto(`${rig.berth.platform.urls.issuer}/session/end`)
        await page.getByRole('button', { name: 'Sign out here too' }).click()
        await page.getByText('You are signed out').waitFor()
      },
    ],
  ])('%s ends what another has open', async (what, signOut) => {
    const { context, page } = await rig.person()
    await signIn(page, rig.origin)
    const other = await context.newPage()
    await other.goto(`${rig.origin}/app`)
    await request(other, '/auth/session')
    await connect(other)
    expect((await graphql(other, VIEWER)).text).toContain('User')
    const { csrf } = await appOf(other)
    const [cookie] = (await context.cookies(rig.origin)).filter(
      ({ name }) => name === rig.cookieName,
    )
    // As whoever kept a copy of the cookie, which the browser itself forgets.
    const replay = () =>
      fetch(`${rig.berth.platform.urls.gateway}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'berth-csrf': csrf,
          cookie: `${cookie?.name}=${cookie?.value}`,
        },
        body: JSON.stringify({ query: VIEWER }),
      })
    expect((await replay()).status).toBe(200)

    await signOut(page)
    const startedAt = performance.now()
    await vi.waitFor(async () => {
      expect((await replay()).status).toBe(401)
      expect((await appOf(other)).socketClosed).toBe(4401)
    }, WITHIN)
    console.log(`${scheme}, ${what}: ended ${Math.round(performance.now() - startedAt)} ms later`)
    expect((await graphql(other, VIEWER)).text).not.toContain('User')
    const after = await request(other, '/auth/session')
    expect(JSON.parse(after.text)).toMatchObject({ authenticated: false })
    expect(await context.cookies(rig.origin)).not.toContainEqual(
      expect.objectContaining({ name: rig.cookieName }),
    )
    await context.close()
  })

  test.each<[string, () => string, boolean]>([
    ['of the same host, to which the browser sends the cookie', () => rig.neighbour.origin, true],
    ['of another site', () => rig.stranger.origin, false],
  ])('a page %s can do nothing with the session', async (_whose, originOf, isCookieSent) => {
    const { context, page, traffic } = await rig.person()
    await signIn(page, rig.origin)
    const { csrf } = await appOf(page)
    const evil = await context.newPage()
    await evil.goto(`${originOf()}/`)
    const mutation = `mutation { organizationCreate(input: { name: "Stolen" }) { organization { id } } }`
    const target = `${rig.origin}/graphql`

    const post = (headers: Record<string, string>, more: Init = {}) =>
      request(evil, target, {
        method: 'POST',
        headers,
        body: JSON.stringify({ query: mutation }),
        ...more,
      })
    const json = { 'content-type': 'application/json' }
    expect((await post(json)).status).toBe(0)
    expect((await post({ ...json, 'berth-csrf': csrf })).status).toBe(0)
    // Those that a browser sends without asking first; what comes of them is not for the page.
    for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
      expect((await post({ 'content-type': type }, { mode: 'no-cors' })).status).toBe(0)
    }
    const query = `${target}?query=${encodeURIComponent(mutation)}`
    await request(evil, query, { mode: 'no-cors' })
    for (const url of ['/auth/session', '/auth/logout', '/graphql?query={__typename}']) {
      expect((await request(evil, rig.origin + url)).status).toBe(0)
    }
    await evil.evaluate(subscribe, {
      url: `${rig.origin.replace('http', 'ws')}/graphql`,
      query: UPDATES,
    })
    await vi.waitFor(async () => expect((await appOf(evil)).socketClosed).toBe(1006), WITHIN)
    expect((await appOf(evil)).frames).toEqual([])
    await evil.evaluate(
      eventSource,
      `${rig.origin}/graphql/stream?query=${encodeURIComponent(UPDATES)}`,
    )
    expect(await evil.evaluate(script, `${rig.origin}/auth/session`)).toBe('error')
    expect(await evil.evaluate(frame, `${rig.origin}/graphql`)).toBe(null)

    // Navigations: the browser shows what is answered, and lets the page read none of it.
    for (const [action, fields] of [
      [target, { query: mutation }],
      [`${rig.origin}/auth/logout`, {}],
    ] as const) {
      const away = await context.newPage()
      await away.goto(`${originOf()}/`)
      await Promise.all([away.waitForEvent('load'), away.evaluate(submit, { action, fields })])
      await away.close()
    }
    const away = await context.newPage()
    await away.goto(query)
    await away.close()

    const sent = (await traffic.answers()).filter(
      ({ url, sent }) => url === target && sent.referer === `${originOf()}/`,
    )
    const withCookie = sent.filter((it) => it.sent.cookie?.includes(`${rig.cookieName}=`))
    expect(sent.length).toBeGreaterThan(1)
    expect(withCookie.length > 0, 'whether the cookie was sent').toBe(isCookieSent)

    expect(await rig.berth.sql(ORGANIZATIONS, ['Stolen'])).toEqual([{ count: 0 }])
    const still = await request(page, '/auth/session')
    expect(JSON.parse(still.text)).toMatchObject({ authenticated: true })
    const name = `Meant ${scheme} ${String(isCookieSent)}`
    await graphql(page, mutation.replace('Stolen', name))
    expect(await rig.berth.sql(ORGANIZATIONS, [name])).toEqual([{ count: 1 }])
    await context.close()
  })

  async function connect(page: Page): Promise<void> {
    const url = `${rig.origin.replace('http', 'ws')}/graphql`
    await page.evaluate(subscribe, { url, query: UPDATES })
    await vi.waitFor(async () => {
      expect((await appOf(page)).frames).toContainEqual({ type: 'connection_ack' })
    }, WITHIN)
  }

  async function rent(page: Page): Promise<string> {
    const input = 'name: "from a page", gpuModel: "a100-sxm4-80gb", gpuCount: 1'
    const query = `mutation { allocationCreate(input: { ${input} }) { allocation { id } } }`
    return vi.waitFor(async () => {
      const key = { 'idempotency-key': `"${crypto.randomUUID()}"` }
      const { text } = await graphql(page, query, key)
      const { data } = JSON.parse(text)
      expect(data, text).not.toBeNull()
      return String(data.allocationCreate.allocation.id)
    }, WITHIN)
  }
})

function appOf(page: Page): Promise<App> {
  return page.evaluate(() => (window as unknown as { app: App }).app)
}

function cookiesSet(answers: readonly Exchange[]): string[] {
  return answers
    .flatMap(({ headers }) => headers)
    .flatMap(({ name, value }) => (name === 'set-cookie' ? value.split('\n') : []))
}

function callbackOf(answers: readonly Exchange[]): string {
  const found = answers.find(({ url }) => url.includes('/auth/callback?'))
  return String(found?.url)
}

const codeOf = (answers: readonly Exchange[]) =>
  String(new URL(callbackOf(answers)).searchParams.get('code'))
