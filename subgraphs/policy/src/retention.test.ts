import { type Id, idToUuid } from '@berth/platform/ids'
import { until } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keepSwept } from './retention.ts'
import { sweepEndedCredentials } from './store/retention.ts'
import { audits, mutate, newOrganization, type Policy } from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const KEY = { payload: 'apiKey { id } secret' }
const keyInput = (name: string) => ({ name, scopes: ['allocation:read'] })

async function newKey(org: Awaited<ReturnType<typeof newOrganization>>, key: string) {
  const made = await mutate(policy, org.ADMIN.actor, 'apiKeyCreate', keyInput(key), { ...KEY, key })
  return made.apiKey.id as Id<'key'>
}

async function newInvitation(org: Awaited<ReturnType<typeof newOrganization>>, key: string) {
  const options = { payload: 'invitation { id }', key }
  const made = await mutate(
    policy,
    org.OWNER.actor,
    'invitationCreate',
    { role: 'MEMBER' },
    options,
  )
  return made.invitation.id as Id<'inv'>
}

/** As time would. */
const change = (table: 'api_keys' | 'invitations', text: string, id: string) =>
  policy.owner.sql.query(`UPDATE ${table} SET ${text} WHERE id = $1::uuid`, [
    idToUuid(id as Id<'key'>),
  ])

async function kept(organizationId: Id<'org'>): Promise<Set<string>> {
  const rows = await policy.database.sql.query<{ id: string }>(
    `SELECT id FROM api_keys WHERE organization_id = $1::uuid
     UNION ALL SELECT id FROM invitations WHERE organization_id = $1::uuid`,
    [idToUuid(organizationId)],
  )
  return new Set(rows.map(({ id }) => id))
}

async function told(): Promise<bigint> {
  const [row] = await policy.database.sql.query<{ version: bigint }>(
    'SELECT version FROM revocation_counter',
  )
  return row?.version ?? 0n
}

async function sweepAll(): Promise<void> {
  while (await sweepEndedCredentials(policy.database.sql));
}

test('what ended 90 days ago is forgotten, and nothing that is good or ended later', async () => {
  const org = await newOrganization(policy)
  const inviting = await newOrganization(policy)
  const states = {
    good: `expires_at = now() + interval '1 day'`,
    'expired lately': `expires_at = now() - interval '89 days'`,
    'expired long ago': `expires_at = now() - interval '91 days'`,
    'revoked lately': `revoked_at = now() - interval '89 days'`,
    // However long it would have been good.
    'revoked long ago': `revoked_at = now() - interval '91 days'`,
  }
  const ids = new Map<string, string>()
  for (const [state, text] of Object.entries(states)) {
    const [key, invitation] = [await newKey(org, state), await newInvitation(inviting, state)]
    await change('api_keys', text, key)
    await change('invitations', text, invitation)
    ids.set(idToUuid(key), `${state} key`).set(idToUuid(invitation), `${state} invitation`)
  }
  const accepted = await newInvitation(inviting, 'accepted')
  await change(
    'invitations',
    `accepted_at = now() - interval '91 days', accepted_by = created_by`,
    accepted,
  )
  const before = await told()
  await sweepAll()
  expect(await told()).toBe(before)

  const left = [...(await kept(org.id)), ...(await kept(inviting.id))].map((id) => ids.get(id))
  const expected = ['good', 'expired lately', 'revoked lately'].flatMap((state) => [
    `${state} key`,
    `${state} invitation`,
  ])
  expect(left.sort()).toEqual(expected.sort())
})

test('thousands that ended long ago go in batches, and concern nobody; their audit stays', async () => {
  const org = await newOrganization(policy)
  const [live, gone] = [await newKey(org, 'live'), await newKey(org, 'gone')]
  await policy.owner.sql.query(
    `INSERT INTO api_keys SELECT gen_random_uuid(), organization_id, name, scopes, allowed_cidrs,
       secret_hash, pepper_id, NULL, NULL, NULL, created_by, created_at, expires_at - interval '1 year',
       NULL, NULL, 1 FROM api_keys, generate_series(1, 2500) WHERE id = $1::uuid`,
    [idToUuid(gone)],
  )
  await change('api_keys', `revoked_at = now() - interval '1 year'`, gone)
  const before = await told()
  const sizes: number[] = [(await kept(org.id)).size]
  while (await sweepEndedCredentials(policy.database.sql)) sizes.push((await kept(org.id)).size)
  expect(sizes.slice(1).every((size, n) => (sizes[n] ?? 0) - size <= 500)).toBe(true)
  expect(await kept(org.id)).toEqual(new Set([idToUuid(live)]))
  expect(await told()).toBe(before)

  const { data, errors } = await policy.graphql(
    org.OWNER.actor,
    '{ apiKeys { nodes { id } } auditEvents(first: 100) { nodes { action target } } }',
  )
  expect(errors).toBeUndefined()
  expect(data.apiKeys.nodes).toEqual([{ id: live }])
  expect((await audits(policy, org.id)).map(({ target }) => target)).toContain(gone)
  await until(async () => {
    const { data: read } = await policy.graphql(
      org.OWNER.actor,
      '{ auditEvents(first: 100) { nodes { action target } } }',
    )
    expect(read.auditEvents.nodes).toContainEqual({ action: 'apiKey.create', target: gone })
  })
})

test('a key that is good is told of when somebody deletes it, as before', async () => {
  const org = await newOrganization(policy)
  const [live, ended] = [await newKey(org, 'live'), await newKey(org, 'ended')]
  await change('api_keys', 'revoked_at = now()', ended)
  const before = await told()
  await policy.owner.sql.query('DELETE FROM api_keys WHERE organization_id = $1::uuid', [
    idToUuid(org.id),
  ])
  const rows = await policy.database.sql.query<{ subject: string }>(
    'SELECT subject FROM revocations WHERE version > $1::bigint',
    [before],
  )
  expect(rows).toEqual([{ subject: `key:${idToUuid(live)}` }])
})

test('the hash of a rotated secret is kept no longer than its overlap, and its end concerns nobody', async () => {
  const org = await newOrganization(policy)
  const [over, lasting] = [await newKey(org, 'over'), await newKey(org, 'lasting')]
  for (const id of [over, lasting]) {
    await mutate(policy, org.ADMIN.actor, 'apiKeyRotate', { id }, { key: id })
  }
  await change('api_keys', 'previous_ends_at = now()', over)
  const before = await told()
  await sweepAll()
  expect(await told()).toBe(before)
  const rows = await policy.database.sql.query<{ id: string }>(
    `SELECT id FROM api_keys WHERE organization_id = $1::uuid AND previous_hash IS NOT NULL`,
    [idToUuid(org.id)],
  )
  expect(rows).toEqual([{ id: idToUuid(lasting) }])
  // Taking the overlap away before its time is told.
  await change(
    'api_keys',
    'previous_hash = NULL, previous_pepper_id = NULL, previous_ends_at = NULL',
    lasting,
  )
  expect(await told()).toBe(before + 1n)
})

test('the service sweeps by itself, and can delete nothing else', async () => {
  const org = await newOrganization(policy)
  const invitation = await newInvitation(org, 'old')
  await change('invitations', `expires_at = now() - interval '91 days'`, invitation)
  await using own = new AsyncDisposableStack()
  keepSwept({ sql: policy.database.sql, log: policy.log, scope: own })
  await until(async () => expect(await kept(org.id)).toEqual(new Set()))
  for (const table of ['api_keys', 'invitations', 'peppers']) {
    await expect(policy.database.sql.query(`DELETE FROM ${table}`)).rejects.toMatchObject({
      code: '42501',
    })
  }
})
