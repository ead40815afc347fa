import { newUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkBooks, type Fixture, openFixture } from '../test-fixture.ts'
import { createCredit } from './credit.ts'

let it: Fixture
beforeAll(async () => {
  it = await openFixture()
})
afterAll(async () => {
  await checkBooks(it.kit.adminUrl)
  await it[Symbol.asyncDispose]()
})

function welcome(organizationId: string, starterCreditMicros = 5_000_000n, replica = 0) {
  const credit = createCredit({ clock: it.clock, currency: 'USD', starterCreditMicros })
  return it.replicas[replica]!.database.sqlTransaction((sql) => credit.welcome(sql, organizationId))
}

test('an organization is given its starter credit once, however often it is announced', async () => {
  const organizationId = newUuid()
  await Promise.all(
    Array.from({ length: 10 }, (_, n) => welcome(organizationId, 5_000_000n, n % 2)),
  )
  it.clock.advance(90 * 86_400)
  await welcome(organizationId)
  await welcome(organizationId, 7_000_000n)
  expect((await it.balance(organizationId)).posted).toBe(5_000_000n)
})

test('without starter credit it has an empty account', async () => {
  const organizationId = newUuid()
  await welcome(organizationId, 0n)
  expect((await it.balance(organizationId)).posted).toBe(0n)
})

test('an id that carries no real time is given credit as well', async () => {
  const organizationId = '00000000-0000-7000-8000-000000000001'
  await welcome(organizationId)
  expect((await it.balance(organizationId)).posted).toBe(5_000_000n)
})

test.each(['billing.account.opened', 'billing.credit.posted'])(
  'of a process that dies at %s nothing stays',
  async (point) => {
    const organizationId = newUuid()
    const disarm = armFault(point, () => {
      throw new Error('killed')
    })
    await expect(welcome(organizationId)).rejects.toThrow('killed')
    expect(await it.balance(organizationId)).toBeUndefined()
    disarm()
    await welcome(organizationId)
    expect((await it.balance(organizationId)).posted).toBe(5_000_000n)
  },
)
