import { openBus } from '@berth/platform/bus'
import type { Envelope } from '@berth/platform/contract'
import { idToUuid, newUuid, parseId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { balanceDepleted } from '@berth/schema/events/billing'
import { organizationSuspended } from '@berth/schema/events/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { create, READ, stateOf } from './testing/documents.ts'
import { TRACE } from './testing/harness.ts'
import { type Installation, install, memberOf } from './testing/service.ts'

const scope = new AsyncDisposableStack()
let it: Installation
let service: Awaited<ReturnType<Installation['open']>>
beforeAll(async () => {
  it = await install(scope)
  service = await it.open(scope)
})
afterAll(() => scope.disposeAsync())

test.each([
  ['the credit is used up', 'billing', balanceDepleted, { currency: 'USD' }, 'NO_BALANCE'],
  ['the organization is suspended', 'policy', organizationSuspended, {}, 'ADMIN'],
] as const)(
  'when %s, all that lives goes, in whatever state, and only theirs',
  async (_what, domain, contract, data, reason) => {
    it.neighbours.addNode(3)
    const [actor, other] = [memberOf(), memberOf()]
    const ids = [await create(service, actor), await create(service, actor)]
    const spared = await create(service, other)
    await expect.poll(() => stateOf(service, other, spared)).toBe('RUNNING')
    const log = createLog({ service: domain, instance: 'test', level: 'silent' })
    const bus = openBus({ url: it.nats.url, name: domain, log })
    const { lastSeq } = await bus.ensureStream(domain)
    const envelope: Envelope = {
      id: newUuid(),
      type: contract.type,
      version: 1,
      aggregate: contract.aggregate,
      aggregateId: newUuid(),
      aggregateSeq: 1,
      organizationId: idToUuid(actor.organizationId ?? ''),
      occurredAt: new Date().toISOString(),
      causationId: null,
      correlationId: 'request-of-it',
      traceparent: TRACE,
      data,
    }
    const { subject } = contract
    const text = JSON.stringify(envelope)
    await bus.publish({ domain, subject, id: envelope.id, text, afterSeq: lastSeq })
    for (const id of ids) {
      await expect.poll(() => stateOf(service, actor, id), { timeout: 15_000 }).toBe('RELEASED')
      expect((await service.ask(actor, READ, { id })).data.allocation.reason).toBe(reason)
      const told = await it.admin.query(
        `SELECT envelope ->> 'causationId' AS cause, envelope ->> 'correlationId' AS correlation,
         envelope ->> 'traceparent' AS trace
       FROM outbox WHERE aggregate_id = $1::uuid AND envelope -> 'data' ->> 'state' IN ('RELEASING', 'RELEASED')`,
        [idToUuid(parseId('alc', id))],
      )
      const { id: cause, traceparent: trace } = envelope
      expect(told).toEqual(Array(2).fill({ cause, correlation: 'request-of-it', trace }))
    }
    expect(await stateOf(service, other, spared)).toBe('RUNNING')
    await bus.close()
  },
)
