import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { PEOPLE } from '../../test-subgraphs/subgraphs.ts'

const WHO = { query: '{ viewer { user { id } organization { id } roles } }' }
const [FIRST = '', SECOND = ''] = Object.keys(PEOPLE.user?.organizations ?? {})

let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  gateway = await platform.gateway()
})
afterAll(() => platform[Symbol.asyncDispose]())

test('a token’s subject is who policy says, in their first organization', async () => {
  const { status, body } = await ask(await platform.issuer.token('user'))
  expect(status).toBe(200)
  expect(body.data?.viewer).toEqual({
    user: { id: PEOPLE.user?.userId },
    organization: { id: FIRST },
    roles: ['member'],
  })
})

test('or in the organization asked for', async () => {
  const { body } = await ask(await platform.issuer.token('user'), { 'berth-organization': SECOND })
  expect(body.data?.viewer).toMatchObject({ organization: { id: SECOND }, roles: ['owner'] })
})

test('who presents nothing is anonymous', async () => {
  const { status, body } = await gateway.ask(WHO)
  expect({ status, body }).toEqual({ status: 200, body: { data: { viewer: null } } })
})

test.each([
  ['not theirs', 'org_01h455vb4pex5vsknk084sn02t', 403, 'FORBIDDEN'],
  ['no id', 'Acme', 400, 'BAD_INPUT'],
])('an organization that is %s is refused', async (_what, id, status, code) => {
  const answer = await ask(await platform.issuer.token('user'), { 'berth-organization': id })
  expect(answer.status).toBe(status)
  expect(codes(answer)).toEqual([code])
})

test('the reason of a refusal is in the log, and no part of the token', async () => {
  const token = await platform.issuer.token('user', { audience: 'other' })
  await ask(token)
  const line = platform.logged.findLast((it) => it.includes('credential refused'))
  expect(line).toContain('aud')
  expect(platform.logged.join('\n')).not.toContain(token.split('.')[2])
})

test('guessing is limited by address', async () => {
  await platform.redis.del('rate:auth:ip:127.0.0.1')
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask('guess')))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401, 429]))
  const limited = answers.find(({ status }) => status === 429)
  expect(Number(limited?.headers.get('retry-after'))).toBeGreaterThan(0)
  await platform.redis.del('rate:auth:ip:127.0.0.1')
})

test('policy is asked once for many requests of one person at once', async () => {
  await platform.redis.del('actors.resolve')
  const fresh = await platform.gateway()
  // Until it knows where changes of authority stand, what it finds out may be asked twice.
  const begun = fresh.metrics.counter('berth_revocations_total', '')
  await expect.poll(async () => (await begun.get()).values[0]?.value).toBe(1)
  const authorization = `Bearer ${await platform.issuer.token('colleague')}`
  await Promise.all(Array.from({ length: 10 }, () => fresh.ask(WHO, { authorization })))
  await fresh.ask(WHO, { authorization })
  expect(await platform.redis.get('actors.resolve')).toBe('1')
})

test('a connection ends with its token, by the code of the table', async () => {
  const token = await platform.issuer.token('user', { expiresIn: 2 })
  const { code, reason } = await closed({ authorization: `Bearer ${token}` })
  expect({ code, reason }).toEqual({
    code: 4401,
    reason: 'UNAUTHENTICATED: The credential has expired',
  })
})

test('a connection that presents nothing is anonymous', async () => {
  const client = gateway.connect()
  const { value } = await client.iterate(WHO).next()
  expect(value).toEqual({ data: { viewer: null } })
  await client.dispose()
})

test('while policy is away nobody is refused: it is 503, to be tried again', async () => {
  const fresh = await platform.gateway()
  await platform.stop('policy')
  const answer = await fresh.ask(WHO, { authorization: `Bearer ${await good()}` })
  await platform.start('policy')
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toBe('2')
  expect(codes(answer)).toEqual(['UNAVAILABLE'])
})

test('while the issuer is away a gateway without its keys answers 503, one with them serves', async () => {
  const fresh = await platform.gateway()
  const token = await good()
  await platform.issuer.stop()
  const without = await fresh.ask(WHO, { authorization: `Bearer ${token}` })
  expect({ status: without.status, codes: codes(without) }).toEqual({
    status: 503,
    codes: ['UNAVAILABLE'],
  })
  expect((await ask(token)).status).toBe(200)
  expect((await fetch(`${fresh.http.url}/readyz`)).status).toBe(503)
  expect((await closed({ authorization: `Bearer ${token}` }, fresh)).code).toBe(4503)
})

function good(): Promise<string> {
  return platform.issuer.token('user')
}

function ask(token: string, headers: Record<string, string> = {}) {
  return gateway.ask(WHO, { authorization: `Bearer ${token}`, ...headers })
}

function codes({
  body,
}: {
  body: { errors?: readonly { extensions?: Record<string, unknown> }[] }
}) {
  return body.errors?.map((it) => it.extensions?.code)
}

/** How a connection with these parameters ends by itself. */
function closed(connectionParams: Record<string, unknown>, of = gateway) {
  return new Promise<{ code: number; reason: string }>((resolve) => {
    const client = of.connect(connectionParams, {
      closed: (event) => resolve(event as { code: number; reason: string }),
    })
    client.subscribe(
      { query: 'subscription { inbox { cursor } }' },
      { next: () => undefined, error: () => undefined, complete: () => undefined },
    )
  })
}
