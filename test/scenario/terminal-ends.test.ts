import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBrowser, signInUpToCallback } from '../browser.ts'
import type { GraphClient } from '../graph-client.ts'
import { openTerminal, type TerminalClient } from '../terminal-client.ts'
import { persist, reached } from './main-job.ts'
import * as story from './story.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

const COOKIE = 'berth-loopback'

let berth: TestPlatform
let gateway: string
let user: GraphClient
let admin: GraphClient
let operator: GraphClient
let allocationId: string
let own: { id: string; membershipId: string }

beforeAll(async () => {
  berth = await openTestPlatform()
  gateway = String(berth.platform.urls.gateway)
  user = await berth.graph('user')
  admin = await berth.graph('admin')
  operator = await berth.graph('operator')
  const input = { name: 'shells', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }
  const { id } = await persist(() => story.createAllocation(user, input))
  await reached(user, id, 'RUNNING')
  allocationId = id
  const { viewer } = await user.get<{
    viewer: { user: { id: string }; membership: { id: string } }
  }>('{ viewer { user { id } membership { id } } }')
  own = { id: viewer.user.id, membershipId: viewer.membership.id }
})
afterAll(() => berth?.stop())

async function shellOf(graph: GraphClient): Promise<TerminalClient> {
  const { token, terminalSession } = await story.openTerminal(graph, allocationId)
  return echoing(await openTerminal({ url: terminalSession.url, token }))
}

let echoes = 0
async function echoing(terminal: TerminalClient): Promise<TerminalClient> {
  echoes += 1
  terminal.write(`echo he""re ${echoes}.\n`)
  await terminal.readUntil(`here ${echoes}.`)
  return terminal
}

/** A shell of a page's: asked for by the cookie of a browser that has signed in. */
async function shellOfPage() {
  const browser = createBrowser()
  await browser.ask(await signInUpToCallback(browser, gateway, 'user'))
  const { csrf, session } = JSON.parse((await browser.ask(`${gateway}/auth/session`)).text) as {
    csrf: string
    session: { id: string }
  }
  const headers = {
    'content-type': 'application/json',
    origin: gateway,
    cookie: `${COOKIE}=${browser.cookies.get(COOKIE)}`,
    'berth-csrf': csrf,
  }
  const query = `mutation { terminalSessionCreate(input: { allocationId: "${allocationId}", origin: "${gateway}" }) {
    token terminalSession { url } } }`
  const response = await fetch(`${gateway}/graphql`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query }),
  })
  const { data } = (await response.json()) as {
    data: { terminalSessionCreate: { token: string; terminalSession: { url: string } } }
  }
  const { token, terminalSession } = data.terminalSessionCreate
  const terminal = await openTerminal({ url: terminalSession.url, token, origin: gateway })
  const logout = () => fetch(`${gateway}/auth/logout`, { method: 'POST', headers })
  return { terminal: await echoing(terminal), session, logout }
}

/** Does it, and tells how the shell was closed; what others have open goes on. */
async function closedBy(
  what: string,
  terminal: TerminalClient,
  others: TerminalClient[],
  act: () => Promise<unknown>,
): Promise<number> {
  const closed = terminal.closed()
  await act()
  const startedAt = performance.now()
  const code = await closed
  console.log(`${what}: the shell ended ${Math.round(performance.now() - startedAt)} ms later`)
  for (const other of others) await echoing(other)
  return code
}

const mutate = (graph: GraphClient, field: string, input: object, payload: string) =>
  graph.get(`mutation ($input: ${inputOf(field)}!) { ${field}(input: $input) { ${payload} } }`, {
    input,
  })

const inputOf = (field: string) => `${field.charAt(0).toUpperCase()}${field.slice(1)}Input`

const setRole = (role: string) => () =>
  mutate(admin, 'membershipSetRole', { id: own.membershipId, role }, 'membership { id }')

test('an API key opens no shell, whatever its scopes', async () => {
  const { apiKeyCreate } = await admin.get<{ apiKeyCreate: { secret: string } }>(
    `mutation { apiKeyCreate(input: { name: "robot", scopes: ["terminal:open"] }) { secret } }`,
  )
  const query = `mutation { terminalSessionCreate(input: { allocationId: "${allocationId}" }) { token } }`
  const response = await fetch(`${gateway}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${apiKeyCreate.secret}`,
    },
    body: JSON.stringify({ query }),
  })
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'FORBIDDEN' } }] })
})

test('a shell ends with the authority by which it was opened, and no other shell does', async () => {
  const others = [await shellOf(admin)]
  const bearer = await shellOf(user)
  const page = await shellOfPage()
  expect(await closedBy('signed out', page.terminal, [...others, bearer], page.logout)).toBe(4_401)

  const revoked = await shellOfPage()
  const revoke = () => mutate(user, 'sessionRevoke', { id: revoked.session.id }, 'sessionId')
  expect(await closedBy('session revoked', revoked.terminal, [...others, bearer], revoke)).toBe(
    4_401,
  )

  expect(await closedBy('another role', bearer, others, setRole('BILLING'))).toBe(4_403)
  await setRole('MEMBER')()

  const input = { id: own.id, reason: 'abuse of the platform' }
  const suspend = () => mutate(operator, 'personSuspend', input, 'person { id }')
  const again = await persist(() => shellOf(user))
  expect(await closedBy('suspended', again, others, suspend)).toBe(4_403)
  await mutate(operator, 'personReinstate', input, 'person { id }')

  const last = await persist(() => shellOf(user))
  const remove = () => mutate(admin, 'membershipRemove', { id: own.membershipId }, '__typename')
  expect(await closedBy('removed', last, others, remove)).toBe(4_403)

  // With the allocation's release its shells end, whoever has them.
  const [ofAdmin] = others
  const released = ofAdmin?.closed()
  await story.releaseAllocation(admin, allocationId)
  await released
  const rows = await berth.sql(
    `SELECT 1 FROM allocations.terminal_sessions WHERE close_reason = 'REVOKED'`,
  )
  expect(rows).toHaveLength(6)
})
