import { expect, test } from 'vitest'
import { z } from 'zod'
import { closedSchemaProblems, command, Envelope, event, idOf } from './contract.ts'
import { newId, newUuid } from './ids.ts'

const data = z.strictObject({
  nodeId: z.string().max(64),
  reason: z.enum(['USER', 'IDLE']).nullable(),
  gpus: z.int().positive(),
  slotIds: z.array(z.string().max(64)),
  at: z.iso.datetime().optional(),
  amountMicros: z.string().regex(/^-?\d+$/),
})

function of(schema: z.ZodType) {
  return event({ domain: 'd', aggregate: 'thing', verb: 'changed', version: 1, data: schema })
}

test('an event has its subject from its parts', () => {
  expect(of(data)).toMatchObject({ subject: 'berth.d.thing.changed.v1', type: 'd.thing.changed' })
  expect(() => event({ domain: 'd.*', aggregate: 'a', verb: 'v', version: 1, data })).toThrow()
  expect(() => event({ domain: 'd', aggregate: 'a', verb: 'v', version: 0, data })).toThrow()
})

test('ids and small facts are closed', () => {
  expect(closedSchemaProblems(of(data))).toEqual([])
  const union = z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('a'), n: z.int() }),
    z.strictObject({ kind: z.literal('b'), id: z.uuid() }),
  ])
  expect(closedSchemaProblems(of(union))).toEqual([])
})

test.each<[string, z.ZodType, string]>([
  ['an open object', z.looseObject({ a: z.int() }), 'unknown fields'],
  ['an object that strips', z.object({ a: z.int() }), 'unknown fields'],
  ['a record', z.strictObject({ labels: z.record(z.string(), z.string()) }), 'unknown fields'],
  ['anything', z.strictObject({ extra: z.unknown() }), 'accepts anything'],
  ['any JSON', z.strictObject({ extra: z.json() }), ''],
  ['an open object in a list', z.strictObject({ a: z.array(z.object({ b: z.int() })) }), 'a[]'],
  ['an open object in a union', z.strictObject({ a: z.union([z.int(), z.object({})]) }), 'unknown'],
  ['free text', z.strictObject({ note: z.string() }), 'free text'],
  ['no object', z.string().max(3), 'must be an object'],
  ...[
    'email',
    'userEmail',
    'name',
    'displayName',
    'phone_number',
    'ip',
    'clientIp',
    'address',
    'apiToken',
    'privateKey',
    'password',
    'secret',
    'hostname',
  ].map(
    (field) =>
      [field, z.strictObject({ [field]: z.string().max(9) }), field] as [string, z.ZodType, string],
  ),
])('%s is not', (_case, schema, problem) => {
  const problems = closedSchemaProblems(of(schema))
  expect(problems).not.toEqual([])
  expect(problems.join()).toContain(problem)
})

test('a command must be closed, and may carry what its owner needs', () => {
  const output = z.strictObject({ certificate: z.string() })
  const base = { name: 'ssh.sign', owner: 'policy', callers: ['terminal'], output }
  const input = z.strictObject({ publicKey: z.string(), address: z.string() })
  expect(closedSchemaProblems(command({ ...base, input }))).toEqual([])
  expect(closedSchemaProblems(command({ ...base, input: z.object({}) }))).not.toEqual([])
  expect(() => command({ ...base, input, callers: [] })).toThrow(/no caller/)
  expect(() => command({ ...base, input, name: '../x' })).toThrow(/command name/)
})

test('an id in a contract is one of its kind, and closed', () => {
  const schema = z.strictObject({ userId: idOf('usr') })
  expect(closedSchemaProblems(of(schema))).toEqual([])
  expect(schema.safeParse({ userId: newId('usr') }).success).toBe(true)
  for (const userId of [newId('org'), newUuid(), `${newId('usr')}\n`, 'usr_']) {
    expect(schema.safeParse({ userId }).success).toBe(false)
  }
})

test('the envelope is closed and has every field', () => {
  const envelope = {
    id: newUuid(),
    type: 'd.thing.changed',
    version: 1,
    aggregate: 'thing',
    aggregateId: newUuid(),
    aggregateSeq: 1,
    organizationId: null,
    occurredAt: '2026-01-01T00:00:00.000Z',
    causationId: null,
    correlationId: null,
    traceparent: null,
    data: {},
  }
  expect(Envelope.parse(envelope)).toEqual(envelope)
  expect(Envelope.safeParse({ ...envelope, extra: 1 }).success).toBe(false)
  for (const field of Object.keys(envelope)) {
    expect(Envelope.safeParse({ ...envelope, [field]: undefined }).success).toBe(false)
  }
})
