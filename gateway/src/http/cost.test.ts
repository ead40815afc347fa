import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { FormattedExecutionResult } from 'graphql'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { POLICIES, SEEN } from '../../test-subgraphs/subgraphs.ts'
import { COST_OF_REQUEST } from '../admit/admit.ts'

const MAX = 3 * COST_OF_REQUEST
const OFFERS = 'query ($n: Int) { offers(first: $n) { nodes { id } } }'
/** The connection is one, and each of its nodes. */
const AT_MOST = { n: MAX - 1 }
const TOO_MUCH = { n: MAX }
const REFUSED = `The operation costs too much: ${MAX + 1} (at most ${MAX})`

const directory = mkdtempSync(path.join(tmpdir(), 'cost-'))
let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  const manifest = path.join(directory, 'manifest.json')
  const operations = [{ id: hash('sha256', OFFERS), name: 'offers', type: 'query', body: OFFERS }]
  const format = 'apollo-persisted-query-manifest'
  writeFileSync(manifest, JSON.stringify({ format, version: 1, operations }))
  platform = await openTestPlatform()
  await platform.redis.hset(
    POLICIES,
    'ratelimit.query',
    JSON.stringify({ perMinute: 0.001, burst: 7 }),
  )
  const env = { BERTH_MAX_COST: MAX, BERTH_TRUSTED_DOCUMENTS: manifest }
  gateway = await platform.gateway({ env })
})
beforeEach(async () => {
  await platform.redis.del(SEEN, 'rate:query:ip:127.0.0.1')
})
afterAll(async () => {
  await platform[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

type Ask = (variables: object, isReported?: boolean) => Promise<Partial<FormattedExecutionResult>>

const asked = (isReported = false): Record<string, string> =>
  isReported ? { 'berth-cost': 'report' } : {}

const FACES: readonly [string, Ask][] = [
  [
    'Apollo Server',
    async (variables, isReported) =>
      (await gateway.ask({ query: OFFERS, variables }, asked(isReported))).body,
  ],
  [
    'the lane',
    async (variables, isReported) => {
      const body = { documentId: hash('sha256', OFFERS), variables }
      return (await gateway.ask(body, asked(isReported))).body
    },
  ],
  [
    'a WebSocket',
    async (variables, isReported = false) => {
      const client = gateway.connect()
      const extensions = { cost: isReported }
      try {
        const request = { query: OFFERS, variables: { ...variables }, extensions }
        const { value } = await client.iterate(request).next()
        return value as FormattedExecutionResult
      } catch (errors) {
        return { errors: errors as FormattedExecutionResult['errors'] & object }
      } finally {
        await client.dispose()
      }
    },
  ],
  [
    'an event stream',
    async (variables, isReported = false) => {
      const response = await fetch(`${gateway.http.url}/graphql/stream`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
        body: JSON.stringify({ query: OFFERS, variables, extensions: { cost: isReported } }),
      })
      const text = await response.text()
      if (!response.ok) return JSON.parse(text) as FormattedExecutionResult
      return JSON.parse(/^data: (\{.*)$/m.exec(text)?.[1] ?? '{}') as FormattedExecutionResult
    },
  ],
]

test.each(FACES)(
  'over %s what costs as much as may be runs, and one more runs nothing',
  async (_face, ask) => {
    const { data, errors } = await ask(AT_MOST)
    expect(errors).toBeUndefined()
    expect(data).toHaveProperty('offers')
    await platform.redis.del(SEEN)
    const refused = await ask(TOO_MUCH)
    expect(refused.errors).toMatchObject([{ extensions: { code: 'TOO_COMPLEX' } }])
    expect(refused.errors?.[0]?.message).toContain(REFUSED)
    expect(await platform.seen()).toEqual([])
  },
)

test.each(FACES)(
  'over %s what costs much counts as many requests, refused or not',
  async (_face, ask) => {
    const codes = []
    // Seven at once: three, three for what is refused, one, and no more.
    for (const variables of [AT_MOST, TOO_MUCH, { n: 1 }, { n: 1 }]) {
      codes.push((await ask(variables)).errors?.[0]?.extensions?.code)
    }
    expect(codes).toEqual([undefined, 'TOO_COMPLEX', undefined, 'RATE_LIMITED'])
  },
)

test.each(FACES)(
  'over %s the cost is told to who asks for it, and to nobody else',
  async (_face, ask) => {
    const { extensions, ...answer } = await ask({ n: 4 }, true)
    expect(extensions).toEqual({ cost: { static: 5 } })
    expect(await ask({ n: 4 })).toEqual(answer)
  },
)
