import { idToUuid, newUuid } from '@berth/platform/ids'
import type { Concern } from '@berth/platform/revocations'
import {
  readDeniedSigningKeys,
  readRevocations,
  refreshOfConcern,
  refreshSigningKeys,
} from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mutate, type Policy } from './test-organization.ts'
import { actors, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
const DENIED = '{ deniedSigningKeys { keyId reason deniedBy deniedAt } }'
const reason = 'its private half was found in a log'

let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const set = (verb: 'Deny' | 'Allow', keyId: string, more = {}) =>
  mutate(
    policy,
    actors.operator,
    `signingKey${verb}`,
    { keyId, reason, ...more },
    {
      payload: verb === 'Deny' ? 'deniedSigningKey { keyId reason deniedBy }' : 'keyId',
    },
  )

const denied = async () =>
  (await policy.commandsOf('gateway').call(readDeniedSigningKeys, {}, { commandId: newUuid() }))
    .keyIds

async function concernsOf(act: () => Promise<unknown>): Promise<Concern[]> {
  const read = (after: number | null) =>
    policy
      .commandsOf('gateway')
      .call(readRevocations, { after, limit: 1_000 }, { commandId: newUuid() })
  const { version } = await read(null)
  await act()
  return [...(await read(version)).concerns]
}

const auditsOf = (target: string) =>
  policy.owner.sql.query<{ action: string; reason: string; actor: { svc?: string; sub?: string } }>(
    'SELECT action, reason, actor FROM audit_events WHERE target = $1 ORDER BY id',
    [target],
  )

test('a key that is denied is on the list, told and audited, until it is allowed', async () => {
  const told = await concernsOf(async () => {
    expect(await set('Deny', 'key 1')).toEqual({
      deniedSigningKey: { keyId: 'key 1', reason, deniedBy: actors.operator.subject },
    })
  })
  expect(told).toEqual([{ kind: 'signing-key', id: 'key 1' }])
  expect(await denied()).toEqual(['key 1'])
  // Again it is neither told nor audited.
  expect(await concernsOf(() => set('Deny', 'key 1', { reason: 'again' }))).toEqual([])
  const { data } = await policy.graphql(actors.operator, DENIED)
  expect(data.deniedSigningKeys).toMatchObject([{ keyId: 'key 1', reason }])

  expect(await concernsOf(() => set('Allow', 'key 1'))).toEqual(told)
  expect(await denied()).toEqual([])
  expect(await set('Allow', 'key 1')).toEqual({ keyId: 'key 1' })
  const actions = (await auditsOf('key 1')).map(({ action }) => action)
  expect(actions).toEqual(['signingKey.deny', 'signingKey.allow'])
})

test('it is for those who run the platform', async () => {
  for (const verb of ['signingKeyDeny', 'signingKeyAllow']) {
    expect(await mutate(policy, actors.admin, verb, { keyId: 'x', reason })).toBe('FORBIDDEN')
  }
  const { errors } = await policy.graphql(actors.admin, DENIED)
  expect(errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test.each([
  ['nothing', ''],
  ['a blank', ' '],
  ['a line break', 'a\nb'],
  ['too much', 'x'.repeat(256)],
])('%s is no key', async (_what, keyId) => expect(await set('Deny', keyId)).toBe('BAD_INPUT'))

test('a denial needs a reason', async () => {
  expect(await set('Deny', 'x', { reason: '' })).toBe('BAD_INPUT')
})

test('by hand it is told as well', async () => {
  const insert = () =>
    policy.owner.sql.query(
      `INSERT INTO denied_signing_keys (key_id, reason, denied_by) VALUES ('by-hand', 'x', $1)`,
      [idToUuid(actors.operator.subject)],
    )
  expect(await concernsOf(insert)).toEqual([{ kind: 'signing-key', id: 'by-hand' }])
  const truncate = () => policy.owner.sql.query('TRUNCATE denied_signing_keys')
  expect(await concernsOf(truncate)).toEqual([{ kind: 'everyone', id: '' }])
})

test('a refresh of keys is told to every gateway, and audited once as the gateway’s', async () => {
  const refreshId = newUuid()
  const told = await concernsOf(async () => {
    // A retry of the same command.
    for (let i = 0; i < 2; i++) {
      const input = { refreshId, reason: 'nobody can sign in' }
      await policy.commandsOf('gateway').call(refreshSigningKeys, input, { commandId: refreshId })
    }
  })
  expect(new Set(told.map(({ kind, id }) => [kind, refreshOfConcern(id)].join()))).toEqual(
    new Set([`signing-key,${refreshId}`]),
  )
  expect(await auditsOf(refreshId)).toMatchObject([
    { action: 'signingKeys.refresh', reason: 'nobody can sign in', actor: { svc: 'gateway' } },
  ])
})

test('nobody but the gateway is told, or refreshes', async () => {
  for (const service of ['terminal', 'billing']) {
    const commands = policy.commandsOf(service)
    await expect(
      commands.call(readDeniedSigningKeys, {}, { commandId: newUuid() }),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  }
})

test('the service writes no concern of its own, and changes no denial', async () => {
  const { sql } = policy.database
  await expect(sql.query(`SELECT append_revocations('everyone', ARRAY[''], 'x')`)).rejects.toThrow(
    'permission denied',
  )
  await expect(sql.query(`UPDATE denied_signing_keys SET reason = 'x'`)).rejects.toThrow(
    'permission denied',
  )
})
