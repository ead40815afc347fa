import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { POLICIES } from '../../test-subgraphs/subgraphs.ts'
import { LIMITS } from './limits.ts'
import { createPlanningBudget } from './planning-budget.ts'

const OFFERS = '{ offers { nodes { available } } }'
const STATES =
  'query ($states: [AllocationState!]) { allocations(states: $states) { nodes { id } } }'
const ALIASES = `{ ${Array.from({ length: 51 }, (_, i) => `a${i}: __typename`).join(' ')} }`

const directory = mkdtempSync(path.join(tmpdir(), 'expense-'))
const manifest = path.join(directory, 'manifest.json')
let platform: TestPlatform
beforeAll(async () => {
  const operations = [OFFERS, STATES].map((body) => {
    return { id: hash('sha256', body), name: 'a', type: 'query', body }
  })
  writeFileSync(
    manifest,
    JSON.stringify({ format: 'apollo-persisted-query-manifest', version: 1, operations }),
  )
  platform = await openTestPlatform()
})
afterAll(async () => {
  await platform[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})
afterEach(async () => {
  const { redis } = platform
  const { keyPrefix = '' } = redis.options
  const counts = await redis.keys(`${keyPrefix}rate:*`)
  await redis.del(POLICIES, ...counts.map((it) => it.slice(keyPrefix.length)))
})

const byHash = (query: string) => ({ documentId: `sha256:${hash('sha256', query)}` })

test('a flood of comments is refused by its length, before it is read, at every face', async () => {
  const gateway = await platform.gateway()
  const query = `${OFFERS}${'\n#'.repeat(340_000)}`
  const refusal = {
    message: `The document is too long: ${query.length} bytes (at most ${LIMITS.documentBytes})`,
    extensions: { code: 'TOO_COMPLEX' },
  }
  const { status, body } = await gateway.ask({ query })
  expect(status).toBe(400)
  expect(body.errors).toMatchObject([refusal])
  const short = `${OFFERS}${'\n#'.repeat(40_000)}`
  const client = gateway.connect()
  await expect(client.iterate({ query: short }).next()).rejects.toMatchObject([
    { message: expect.stringContaining(`${short.length} bytes`) },
  ])
  await client.dispose()
})

test.each([
  ['is no GraphQL', () => '{'],
  ['is not valid', (i: number) => `{ offer${i} }`],
  ['is too complex', () => ALIASES],
  ['is too long', () => `${OFFERS}${' '.repeat(LIMITS.documentBytes)}`],
])('what %s counts against the rate of who sends it', async (_what, query) => {
  await platform.redis.hset(POLICIES, 'ratelimit.query', JSON.stringify({ perMinute: 6, burst: 2 }))
  const gateway = await platform.gateway()
  const headers = { authorization: `Bearer ${await platform.issuer.token('user')}` }
  const answers = []
  // Two are taken; a few more until the rate is known, which a slow policy may take a moment to tell.
  for (let i = 0; i < 50 && answers.at(-1)?.status !== 429; i++) {
    answers.push(await gateway.ask({ query: query(i) }, headers))
  }
  const last = answers.pop()
  expect(last?.status).toBe(429)
  expect(Number(last?.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(answers.length).toBeGreaterThanOrEqual(2)
  expect(answers.every((it) => it.status === 400)).toBe(true)
  expect((await gateway.ask({ query: OFFERS }, headers)).status).toBe(429)
})

test('who has overdrawn the account is told as of any other limit, whichever way it comes', async () => {
  let used = 0
  const budget = () =>
    createPlanningBudget({
      now: () => 0,
      usedMs() {
        used += 3_000
        return used
      },
    })
  const open = () =>
    platform.gateway({ env: { BERTH_TRUSTED_DOCUMENTS: manifest }, budget: budget() })
  const refusal = async (gateway: TestGateway, body: unknown) => {
    const answer = await gateway.ask(body, { 'x-request-id': 'the-same' })
    expect(answer.status).toBe(429)
    expect(answer.body.errors).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }])
    expect(answer.headers.get('retry-after')).toBe(
      String(answer.body.errors?.[0]?.extensions?.retryAfterSeconds),
    )
    return answer.body.errors?.[0]?.message
  }
  const first = await open()
  // Reading it, and planning it.
  expect((await first.ask({ query: '{ viewer { roles } }' })).status).toBe(200)
  // While it is read.
  const message = await refusal(first, { query: '{ viewer { id } }' })
  // While it is planned.
  expect(await refusal(first, byHash(OFFERS))).toBe(message)
  const second = await open()
  expect((await second.ask(byHash(STATES))).status).toBe(200)
  expect(await refusal(second, { query: OFFERS.replace(' ', '  ') })).toBe(message)
})

test('in production no error about variables names what is in the schema, at no face', async () => {
  const env = { BERTH_TRUSTED_DOCUMENTS: manifest }
  const development = await platform.gateway({ env })
  const production = await platform.gateway({ env: { ...env, BERTH_ENV: 'production' } })
  const variables = { states: ['RUNNIN'] }
  const told = async (gateway: TestGateway) => {
    const client = gateway.connect()
    const overSocket = await client
      .iterate({ query: STATES, variables })
      .next()
      .catch((errors: unknown) => errors)
    await client.dispose()
    const byText = await gateway.ask({ query: STATES, variables })
    const byId = await gateway.ask({ ...byHash(STATES), variables })
    expect([byText.status, byId.status]).toEqual([400, 400])
    return [byText.body, byId.body, overSocket].map((it) => JSON.stringify(it))
  }
  for (const text of await told(development)) expect(text).toContain('RUNNING')
  for (const text of await told(production)) {
    expect(text).toContain('RUNNIN')
    expect(text).not.toContain('RUNNING')
  }
})
