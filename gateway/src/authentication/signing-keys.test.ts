import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import {
  openTestPlatform,
  type TestGateway,
  type TestPlatform,
} from '../../test-subgraphs/platform.ts'
import { DENIED_KEYS } from '../../test-subgraphs/subgraphs.ts'

const WHO = { query: '{ viewer { roles } }' }

let platform: TestPlatform
let gateways: readonly [TestGateway, TestGateway]
let thumbprint: string
let otherKey: CryptoKey
beforeAll(async () => {
  platform = await openTestPlatform()
  const { issuer } = platform
  thumbprint = await calculateJwkThumbprint(issuer.publicJwk)
  const pair = await generateKeyPair('EdDSA', { extractable: true })
  otherKey = pair.privateKey
  const other = { ...(await exportJWK(pair.publicKey)), kid: 'other' }
  // The same key under two names: what is denied is the key.
  issuer.publish({ keys: [issuer.publicJwk, { ...issuer.publicJwk, kid: 'alias' }, other] })
  gateways = [await platform.gateway(), await platform.gateway()]
})
afterEach(async () => {
  const denied = await platform.redis.smembers(DENIED_KEYS)
  await platform.redis.del(DENIED_KEYS)
  for (const id of denied) await platform.concern({ kind: 'signing-key', id })
  for (const gateway of gateways) {
    await vi.waitFor(async () => expect(await ask(gateway, await token())).toBe(200), 10_000)
  }
})
afterAll(() => platform[Symbol.asyncDispose]())

const token = (header: object = {}): Promise<string> => platform.issuer.token('user', { header })
const another = (): Promise<string> =>
  platform.issuer.token('user', { key: otherKey, header: { alg: 'EdDSA', kid: 'other' } })

async function ask(gateway: TestGateway, text: string): Promise<number> {
  await platform.redis.del('rate:auth:ip:127.0.0.1')
  return (await gateway.ask(WHO, { authorization: `Bearer ${text}` })).status
}

async function deny(id: string, how?: { isLost?: boolean }): Promise<void> {
  await platform.redis.sadd(DENIED_KEYS, id)
  await platform.concern({ kind: 'signing-key', id }, how)
}

/** A connection that is open, and what it was closed by. */
async function connected(gateway: TestGateway, text: string) {
  const closed: { code: number | null } = { code: null }
  const opened = Promise.withResolvers<void>()
  const client = gateway.connect(
    { authorization: `Bearer ${text}` },
    {
      connected: () => opened.resolve(),
      closed: (event) => {
        closed.code = (event as { code: number }).code
      },
    },
  )
  const sink = { next: () => undefined, error: () => undefined, complete: () => undefined }
  client.subscribe({ query: 'subscription { inbox { cursor } }' }, sink)
  await opened.promise
  return Object.assign(closed, { client })
}

test.each<[string, () => string, boolean]>([
  ['its key id', () => 'key-1', false],
  ['its thumbprint', () => thumbprint, false],
  ['its key id, the message lost', () => 'key-1', true],
])(
  'a key that is denied by %s is refused at every gateway, whatever its tokens name',
  async (_by, id, isLost) => {
    const tokens = [await token(), await token({ kid: undefined }), await token({ kid: 'alias' })]
    const spared = await another()
    const open = []
    for (const gateway of gateways) {
      for (const text of [...tokens, spared]) {
        expect(await ask(gateway, text)).toBe(200)
        open.push(await connected(gateway, text))
      }
    }
    await deny(id(), { isLost })
    for (const gateway of gateways) {
      for (const text of tokens) {
        await vi.waitFor(async () => expect(await ask(gateway, text)).toBe(401), 10_000)
      }
      expect(await ask(gateway, spared)).toBe(200)
    }
    for (const [i, it] of open.entries()) {
      if (i % 4 < 3) await vi.waitFor(() => expect(it.code).toBe(4401), 10_000)
      else expect(it.code).toBeNull()
      await it.client.dispose()
    }
    const reason = platform.logged.findLast((line) => line.includes('credential refused'))
    expect(reason).toContain('signed by a denied key')
  },
)

test('a denied key that the issuer does not have is refused without asking the issuer', async () => {
  await deny('gone')
  const forged = () => token({ kid: 'gone' })
  await vi.waitFor(async () => expect(await ask(gateways[0], await forged())).toBe(401), 10_000)
  const before = platform.issuer.fetches()
  for (let i = 0; i < 5; i++) expect(await ask(gateways[0], await forged())).toBe(401)
  expect(platform.issuer.fetches()).toBe(before)
})

test('a gateway that starts while policy is away takes no token, and then does', async () => {
  const denied = await token()
  await deny('key-1')
  let fresh: TestGateway | undefined
  await platform.without('policy', async () => {
    fresh = await platform.gateway()
    expect(await ask(fresh, denied)).toBe(503)
    expect(await ask(fresh, await another())).toBe(503)
  })
  const started = fresh as unknown as TestGateway
  await vi.waitFor(async () => expect(await ask(started, denied)).toBe(401), 10_000)
  await vi.waitFor(async () => expect(await ask(started, await another())).toBe(200), 10_000)
  await started.close()
})
