import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { SEEN } from '../../test-subgraphs/subgraphs.ts'

const OFFERS = '{ offers { nodes { available } } }'

let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  // Other limits are what these try.
  gateway = await platform.gateway({ env: { BERTH_MAX_COST: 120_000 } })
})
afterAll(() => platform[Symbol.asyncDispose]())
beforeEach(() => platform.redis.del(SEEN))

const many = (count: number, of: (index: number) => string) =>
  Array.from({ length: count }, (_, i) => of(i)).join(' ')

const heads = (count: number) => many(count, (i) => `$v${i}: Boolean!`)
const SLOTS = 'slots { index gpuModel { name pricePerHour { amount } } }'

test.each([
  [
    'a plan of hundreds of requests',
    `{ inbox { nodes { ${many(50, (i) => `a${i}: allocation { name cost { amount } ${SLOTS} createdBy { name } region { name } }`)} } } }`,
    'TOO_COMPLEX',
    'requests to subgraphs (at most 100)',
  ],
  [
    'as many plans as conditions have values',
    `query (${heads(40)}) { allocations { nodes { ${many(40, (i) => `a${i}: ${SLOTS.replace(' ', ` @skip(if: $v${i}) `)}`)} } } }`,
    'TOO_COMPLEX',
    'condition variables 40 (at most 10)',
  ],
  [
    'fragments that double',
    `{ balance { ...F0 } } ${many(150, (i) => `fragment F${i} on Balance { ...F${i + 1} ...F${i + 1} }`)} fragment F150 on Balance { held { amount } }`,
    'TOO_COMPLEX',
    'fields',
  ],
  [
    'fields that conflict with each other',
    `{ balance { held { ${many(600, (i) => `a: ${i % 2 ? 'amount' : 'currency'}`)} } } }`,
    'BAD_INPUT',
    'conflict',
  ],
  [
    'fields that must be compared with each other',
    `{ ${many(280, () => 'balance { held { amount } }')} }`,
    'TOO_COMPLEX',
    'root fields 280',
  ],
  [
    'fragments in a circle',
    `{ balance { ...F0 } } ${many(200, (i) => `fragment F${i} on Balance { ...F${(i + 1) % 200} }`)}`,
    'BAD_INPUT',
    'Cannot spread fragment',
  ],
])(
  '%s: refused with a closed code, and the next client is answered',
  async (_what, query, code, message) => {
    const variables = Object.fromEntries(
      [...query.matchAll(/\$(v\d+): /g)].map(([, name]) => [name, false]),
    )
    const refused = await gateway.ask({ query, variables })
    expect(refused.status).toBe(400)
    expect(refused.body.errors?.[0]).toMatchObject({
      message: expect.stringContaining(message),
      extensions: { code },
    })
    expect(await platform.seen()).toEqual([])
    const innocent = await gateway.ask({ query: OFFERS })
    expect([innocent.status, innocent.body.errors]).toEqual([200, undefined])
  },
)
