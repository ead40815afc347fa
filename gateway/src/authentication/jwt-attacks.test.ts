import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { AUDIENCE } from '../../test-subgraphs/issuer.ts'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { attacks } from './jwt-attacks.test-kit.ts'
import { claims, forgeFor, good, ORDER, of, signed } from './jwt-forge.test-kit.ts'

const WHO = { query: '{ viewer { user { id } organization { id } roles } }' }

let platform: TestPlatform
let gateway: TestGateway
beforeAll(async () => {
  platform = await openTestPlatform()
  await forgeFor(platform.issuer)
  gateway = await platform.gateway()
})
afterAll(() => platform[Symbol.asyncDispose]())

test('what the attacks are made of is good without them', async () => {
  for (const token of [signed(claims()), await of('rsa-1', 'RS256'), await of('ed-1', 'EdDSA')]) {
    expect((await gateway.ask(WHO, { authorization: `Bearer ${token}` })).status).toBe(200)
  }
  // Several audiences are for several to accept (RFC 7519, section 4.1.3).
  const shared = signed(claims({ aud: ['other', AUDIENCE] }))
  expect((await gateway.ask(WHO, { authorization: `Bearer ${shared}` })).status).toBe(200)
})

test.each(attacks)(
  '%s is 401 and 4401, for a reason that only the log has',
  async (_what, reason, make) => {
    const text = await make()
    const authorization = text.startsWith('Basic') ? text : `Bearer ${text}`
    const seen = (await platform.seen()).length
    const fetches = platform.issuer.fetches()
    platform.logged.length = 0
    // Each attack from nowhere in particular: the limit of guesses is tested by itself.
    await platform.redis.del('rate:auth:ip:127.0.0.1')
    // A header takes no other text; by WebSocket it comes as JSON.
    const isHeader = /^[\x20-\x7e]*$/.test(authorization)
    if (isHeader) {
      const answer = await gateway.ask(WHO, { authorization })
      expect(answer.status).toBe(401)
      expect(answer.body).toEqual({
        errors: [
          {
            message: 'The credential is not valid: sign in again',
            extensions: {
              code: 'UNAUTHENTICATED',
              requestId: expect.any(String),
              retryable: false,
            },
          },
        ],
      })
    }
    expect(await closed({ authorization })).toEqual({
      code: 4401,
      reason: 'UNAUTHENTICATED: The credential is not valid: sign in again',
    })
    // Nobody was asked about whoever it was said to be of, but for a good token of nobody's.
    expect(await platform.seen()).toHaveLength(seen)
    expect(platform.issuer.fetches() - fetches).toBeLessThanOrEqual(1)
    const refusals = platform.logged.filter((line) => line.includes('credential refused'))
    expect(refusals).toHaveLength(isHeader ? 2 : 1)
    for (const line of refusals)
      expect((JSON.parse(line) as { reason: string }).reason).toMatch(reason)
    const log = platform.logged.join('\n')
    for (const part of text.split('.').filter((it) => it.length >= 16)) {
      expect(log).not.toContain(part.slice(0, 200))
    }
    expect(log).not.toMatch(/jndi|OR 1=1|evil/)
  },
)

/** How a connection with these parameters ends by itself. */
function closed(connectionParams: Record<string, unknown>) {
  return new Promise<{ code: number; reason: string }>((resolve) => {
    const client = gateway.connect(connectionParams, {
      closed: (event) => {
        const { code, reason } = event as { code: number; reason: string }
        resolve({ code, reason })
      },
    })
    client.subscribe(
      { query: 'subscription { inbox { cursor } }' },
      { next: () => undefined, error: () => undefined, complete: () => undefined },
    )
  })
}

test('a second signature of the same token is the same token, to whoever revokes it', async () => {
  // Of an ECDSA signature (r, s) there is always (r, n - s) as well.
  const [head, body, signature = ''] = (await good()).split('.')
  const bytes = Buffer.from(signature, 'base64url')
  const s = BigInt(`0x${ORDER}`) - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
  const other = Buffer.concat([
    bytes.subarray(0, 32),
    Buffer.from(s.toString(16).padStart(64, '0'), 'hex'),
  ])
  const twin = `${head}.${body}.${other.toString('base64url')}`
  const names = []
  for (const it of [`${head}.${body}.${signature}`, twin]) {
    const { status } = await gateway.ask(WHO, { authorization: `Bearer ${it}` })
    expect(status).toBe(200)
    names.push((await platform.seen()).at(-1)?.claims.cred)
  }
  expect(names[0]).toMatch(/^jwt:/)
  expect(names[1]).toBe(names[0])
})

test('HTTP itself refuses what is larger than any header', async () => {
  const authorization = `Bearer ${signed(claims({ x: 'x'.repeat(20_000) }))}`
  const { status } = await fetch(`${gateway.http.url}/graphql`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(WHO),
  })
  expect(status).toBe(431)
  await vi.waitFor(async () => expect((await closed({ authorization })).code).toBe(4401))
})
