import { hash } from 'node:crypto'
import { createActor } from '@berth/platform/actor'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import { parseApiKey } from '@berth/schema/api-key'
import { resolveApiKey } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  audits,
  dump,
  eventTypes,
  mutate,
  newOrganization,
  type Policy,
  type Somebody,
  type TestOrganization,
} from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const KEY =
  'apiKey { id name prefix scopes allowedCidrs state createdBy { id } overlapEndsAt } secret'
const INPUT = { name: 'CI', scopes: ['allocation:read', 'allocation:create'] }

test('a key is shown once, and from then on by its prefix alone', async () => {
  const org = await newOrganization(policy)
  const input = { ...INPUT, allowedCidrs: ['203.0.113.0/24'] }
  const { apiKey, secret } = await mutate(policy, org.ADMIN.actor, 'apiKeyCreate', input, {
    payload: KEY,
  })
  expect(parseApiKey(secret)).toMatchObject({ environment: 'test', id: apiKey.id })
  expect(secret.startsWith(`${apiKey.prefix}_`)).toBe(true)
  expect(apiKey).toMatchObject({
    name: 'CI',
    scopes: ['allocation:create', 'allocation:read'],
    allowedCidrs: ['203.0.113.0/24'],
    state: 'ACTIVE',
    createdBy: { id: org.ADMIN.userId },
  })
  expect(JSON.stringify(await listed(org))).not.toContain(parseApiKey(secret)?.secret)
  expect(await resolved(secret)).toMatchObject({
    organizationId: org.id,
    roles: ['admin'],
    scopes: ['allocation:create', 'allocation:read'],
    allowedCidrs: ['203.0.113.0/24'],
  })
})

test('nothing in the database tells a secret, nor could it be tried without the keys’ files', async () => {
  const org = await newOrganization(policy)
  const key = await make(org.OWNER)
  const rotated = await mutate(
    policy,
    org.OWNER.actor,
    'apiKeyRotate',
    { id: key.apiKey.id },
    { payload: KEY, key: 'rotate' },
  )
  const { token } = await mutate(
    policy,
    org.OWNER.actor,
    'invitationCreate',
    { role: 'MEMBER' },
    { payload: 'token', key: 'invite' },
  )
  const everything = await dump(policy)
  expect(everything).toContain(key.apiKey.id)
  for (const text of [key.secret, rotated.secret, token]) {
    const secret = text.split('_').find((it: string) => it.length === 43) ?? ''
    expect(secret).toHaveLength(43)
    for (const encoding of ['hex', 'base64', 'base64url'] as const) {
      expect(everything).not.toContain(hash('sha256', secret, encoding))
      expect(everything).not.toContain(Buffer.from(secret).toString(encoding))
    }
    expect(everything).not.toContain(secret)
  }
})

test.each([
  ['ADMIN', { scopes: ['node:write'] }, 'FORBIDDEN'],
  ['ADMIN', { scopes: ['nothing:known'] }, 'FORBIDDEN'],
  ['ADMIN', { scopes: ['*'] }, 'BAD_INPUT'],
  ['ADMIN', { scopes: [] }, 'BAD_INPUT'],
  ['ADMIN', { name: '' }, 'BAD_INPUT'],
  ['ADMIN', { allowedCidrs: ['10.0.0.1'] }, 'BAD_INPUT'],
  ['ADMIN', { allowedCidrs: [] }, 'BAD_INPUT'],
  ['ADMIN', { expiresAt: '2020-01-01T00:00:00Z' }, 'BAD_INPUT'],
  ['ADMIN', { expiresAt: '2999-01-01T00:00:00Z' }, 'BAD_INPUT'],
  ['MEMBER', {}, 'FORBIDDEN'],
  ['VIEWER', { scopes: ['allocation:read'] }, 'FORBIDDEN'],
] as const)('one who is %s gets no key by %j: %s', async (role, input, expected) => {
  const org = await newOrganization(policy)
  expect(await mutate(policy, org[role].actor, 'apiKeyCreate', { ...INPUT, ...input })).toBe(
    expected,
  )
})

test('a key does what its maker may, within its scopes, and no more than they may now', async () => {
  const org = await newOrganization(policy)
  const { secret } = await make(org.ADMIN, { scopes: ['organization:read'] })
  const { organizationId, roles, scopes } = await accepted(secret)
  const key = createActor({ kind: 'api-key', organizationId, roles, scopes })
  expect((await policy.graphql(key, '{ organization { id } }')).data).toEqual({
    organization: { id: org.id },
  })
  const members = '{ organization { members { nodes { id } } } }'
  expect((await policy.graphql(key, members)).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  await mutate(policy, org.OWNER.actor, 'membershipSetRole', {
    id: org.ADMIN.membershipId,
    role: 'VIEWER',
  })
  expect(await resolved(secret)).toMatchObject({ roles: ['viewer'] })
  await mutate(policy, org.OWNER.actor, 'membershipRemove', { id: org.ADMIN.membershipId })
  expect(await resolved(secret)).toBe('NOT_FOUND: the API key is ORPHANED')
  expect((await listed(org))[0]).toMatchObject({ state: 'ORPHANED', createdBy: null })
})

test('why a key is not good is told to who resolves it, for the log', async () => {
  const org = await newOrganization(policy)
  const [key, other] = [await make(org.OWNER), await make(org.OWNER)]
  const { secret } = parseApiKey(other.secret) ?? {}
  expect(await resolve(key.apiKey.id, secret ?? '')).toBe(
    'NOT_FOUND: the secret is not the API key’s',
  )
  expect(await resolve(newId('key'), secret ?? '')).toBe('NOT_FOUND: there is no such API key')
  await policy.owner.sql.query(`UPDATE api_keys SET expires_at = now() WHERE id = $1::uuid`, [
    idToUuid(key.apiKey.id),
  ])
  expect(await resolved(key.secret)).toBe('NOT_FOUND: the API key is EXPIRED')
  expect(await mutate(policy, org.OWNER.actor, 'apiKeyRotate', { id: key.apiKey.id })).toBe(
    'CONFLICT',
  )
})

test('a rotated key works by both secrets for the overlap, and a third ends the first', async () => {
  const org = await newOrganization(policy)
  const first = await make(org.OWNER)
  const { id } = first.apiKey
  const rotate = (overlapSeconds: number) =>
    mutate(policy, org.OWNER.actor, 'apiKeyRotate', { id, overlapSeconds }, { payload: KEY })
  const second = await rotate(600)
  expect(second.apiKey.overlapEndsAt).not.toBeNull()
  const [old, current] = [await accepted(first.secret), await accepted(second.secret)]
  expect(old.expiresAt).toBe(second.apiKey.overlapEndsAt)
  expect(current.expiresAt > old.expiresAt).toBe(true)
  const third = await rotate(600)
  expect(await resolved(first.secret)).toBe('NOT_FOUND: the secret is not the API key’s')
  expect(await resolved(second.secret)).toBeTypeOf('object')
  await policy.owner.sql.query(`UPDATE api_keys SET previous_ends_at = now() WHERE id = $1::uuid`, [
    idToUuid(id),
  ])
  expect(await resolved(second.secret)).toMatch(/overlap is over/)
  const fourth = await rotate(0)
  expect(await resolved(third.secret)).toBe('NOT_FOUND: the secret is not the API key’s')
  expect(await resolved(fourth.secret)).toBeTypeOf('object')
})

test('nobody gets another’s authority by rotating their key, though they may revoke it', async () => {
  const org = await newOrganization(policy)
  const { apiKey, secret } = await make(org.OWNER)
  expect(await mutate(policy, org.ADMIN.actor, 'apiKeyRotate', { id: apiKey.id })).toBe('FORBIDDEN')
  const revoked = await mutate(
    policy,
    org.ADMIN.actor,
    'apiKeyRevoke',
    { id: apiKey.id, reason: 'leaked' },
    { payload: 'apiKey { state }' },
  )
  expect(revoked).toEqual({ apiKey: { state: 'REVOKED' } })
  expect(await resolved(secret)).toBe('NOT_FOUND: the API key is REVOKED')
})

test('of a rotation and a revocation at once, nothing that opens is left', async () => {
  const org = await newOrganization(policy)
  for (let round = 0; round < 10; round++) {
    const { apiKey, secret } = await make(org.OWNER)
    const [rotated, revoked] = await Promise.all([
      mutate(policy, org.OWNER.actor, 'apiKeyRotate', { id: apiKey.id }, { payload: KEY }),
      mutate(policy, org.OWNER.actor, 'apiKeyRevoke', { id: apiKey.id }),
    ])
    expect(revoked).toBeTypeOf('object')
    expect(await resolved(secret)).toMatch(/^NOT_FOUND/)
    if (rotated === 'CONFLICT') continue
    expect(await resolved(rotated.secret)).toMatch(/^NOT_FOUND/)
  }
})

test('of two rotations at once, the last one’s secret and the one before are good', async () => {
  const org = await newOrganization(policy)
  const { apiKey, secret } = await make(org.OWNER)
  const rotated = await Promise.all(
    [1, 2].map(() =>
      mutate(policy, org.OWNER.actor, 'apiKeyRotate', { id: apiKey.id }, { payload: KEY }),
    ),
  )
  expect(await resolved(secret)).toMatch(/^NOT_FOUND/)
  for (const it of rotated) expect(await resolved(it.secret)).toBeTypeOf('object')
})

test('an organization has 100 good keys at most, however many are made at once', async () => {
  const org = await newOrganization(policy)
  const { apiKey } = await make(org.OWNER)
  await policy.owner.sql.query(
    `INSERT INTO api_keys (id, organization_id, name, scopes, secret_hash, pepper_id, created_by, expires_at)
     SELECT gen_random_uuid(), organization_id, name, scopes, secret_hash, pepper_id, created_by, expires_at
     FROM api_keys, generate_series(1, 96) WHERE id = $1::uuid`,
    [idToUuid(apiKey.id)],
  )
  const made = await Promise.all(
    Array.from({ length: 5 }, () => mutate(policy, org.OWNER.actor, 'apiKeyCreate', INPUT)),
  )
  expect(made.filter((it) => it === 'QUOTA_EXCEEDED')).toHaveLength(2)
  await mutate(policy, org.OWNER.actor, 'apiKeyRevoke', { id: apiKey.id })
  expect(await mutate(policy, org.OWNER.actor, 'apiKeyCreate', INPUT)).toBeTypeOf('object')
})

test('when a key was last used is known to the minute, and writing it concerns nobody', async () => {
  const org = await newOrganization(policy)
  const { apiKey, secret } = await make(org.OWNER)
  const lastUsed = async () => {
    const [row] = await policy.database.sql.query<{ at: Date | null; version: string }>(
      'SELECT last_used_at AS at, xmin::text AS version FROM api_keys WHERE id = $1::uuid',
      [idToUuid(apiKey.id)],
    )
    return row
  }
  expect((await lastUsed())?.at).toBeNull()
  const before = await version()
  await Promise.all(Array.from({ length: 20 }, () => resolved(secret)))
  const used = await lastUsed()
  expect(Math.abs((used?.at?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000)
  await resolved(secret)
  expect(await lastUsed()).toEqual(used)
  expect(await version()).toBe(before)
})

test('the use of a key that is not good is not noted', async () => {
  const org = await newOrganization(policy)
  const { apiKey } = await make(org.OWNER)
  await resolve(apiKey.id, 'x'.repeat(43))
  expect((await listed(org))[0]?.lastUsedAt).toBeNull()
})

test('every change of a key has its audit row and its event; again changes nothing', async () => {
  const org = await newOrganization(policy)
  const { apiKey } = await make(org.OWNER)
  const { id } = apiKey
  await mutate(policy, org.OWNER.actor, 'apiKeyRotate', { id, overlapSeconds: 60 })
  for (let i = 0; i < 2; i++) {
    await mutate(policy, org.OWNER.actor, 'apiKeyRevoke', { id, reason: 'no more needed' })
  }
  expect(await audits(policy, org.id)).toMatchObject([
    { action: 'apiKey.create', target: id, after: { scopes: 'allocation:create allocation:read' } },
    { action: 'apiKey.rotate', target: id },
    {
      action: 'apiKey.revoke',
      target: id,
      reason: 'no more needed',
      before: { state: 'ACTIVE' },
      after: { state: 'REVOKED' },
    },
  ])
  expect((await eventTypes(policy, org.id)).slice(6)).toEqual([
    'policy.apiKey.created',
    'policy.apiKey.rotated',
    'policy.apiKey.revoked',
  ])
})

test('under an idempotency key one key is made, and its secret shown to the first alone', async () => {
  const org = await newOrganization(policy)
  const { actor } = org.OWNER
  const create = () => mutate(policy, actor, 'apiKeyCreate', INPUT, { payload: KEY, key: 'a' })
  const [first, again] = [await create(), await create()]
  expect(again).toEqual({ apiKey: first.apiKey, secret: null })
  expect(await listed(org)).toHaveLength(1)
  const rotate = () =>
    mutate(policy, actor, 'apiKeyRotate', { id: first.apiKey.id }, { payload: KEY, key: 'b' })
  const [rotated, repeated] = [await rotate(), await rotate()]
  expect(repeated.secret).toBeNull()
  expect(await resolved(rotated.secret)).toBeTypeOf('object')
  const other = { ...INPUT, scopes: ['allocation:read'] }
  expect(await mutate(policy, actor, 'apiKeyCreate', other, { key: 'a' })).toBe(
    'IDEMPOTENCY_MISMATCH',
  )
})

test('keys of another organization are as if they never were', async () => {
  const [own, other] = [await newOrganization(policy), await newOrganization(policy)]
  const { apiKey } = await make(other.OWNER)
  const probe = async (field: string, id: string) => {
    const query = `mutation { ${field}(input: { id: "${id}" }) { apiKey { id } } }`
    const { errors } = await policy.graphql(own.OWNER.actor, query)
    return JSON.stringify(
      errors?.map(({ message, extensions }) => [message, extensions.code]),
    ).replaceAll(id, '<id>')
  }
  for (const field of ['apiKeyRotate', 'apiKeyRevoke']) {
    const seen = await probe(field, apiKey.id)
    expect(seen).toContain('NOT_FOUND')
    expect(seen).toBe(await probe(field, newId('key')))
  }
  const after = Buffer.from(`k:${newId('key')}`).toString('base64url')
  const { data } = await policy.graphql(
    own.OWNER.actor,
    `{ apiKeys(after: "${after}") { nodes { id } } }`,
  )
  expect(data.apiKeys.nodes).toEqual([])
  expect((await listed(other))[0]?.state).toBe('ACTIVE')
})

test('two replicas know each other’s keys: they have one pepper', async () => {
  const org = await newOrganization(policy)
  const { secret } = await make(org.OWNER)
  await policy.open()
  const rows = await policy.database.sql.query('SELECT id FROM peppers')
  expect(rows).toHaveLength(1)
  expect(await resolved(secret)).toBeTypeOf('object')
})

test('only the gateway may ask whose a key is', async () => {
  const input = { keyId: newId('key'), secretHash: hash('sha256', 'x', 'base64url') }
  for (const service of ['terminal', 'allocations']) {
    await expect(
      policy.commandsOf(service).call(resolveApiKey, input, { commandId: newId('cmd') }),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  }
})

type Shown = { apiKey: { id: Id<'key'> }; secret: string }

async function make(by: Somebody, input: object = {}): Promise<Shown> {
  const made = await mutate(
    policy,
    by.actor,
    'apiKeyCreate',
    { ...INPUT, ...input },
    { payload: KEY },
  )
  expect(made).toBeTypeOf('object')
  return made as Shown
}

async function listed({ OWNER }: TestOrganization) {
  const { data } = await policy.graphql(
    OWNER.actor,
    '{ apiKeys { nodes { id prefix state lastUsedAt createdBy { id } } } }',
  )
  return data.apiKeys.nodes as Record<string, unknown>[]
}

/** What the gateway is told of a presented key: why not, when it is not good. */
function resolved(text: string) {
  const parts = parseApiKey(text)
  if (!parts) throw new Error('this is no key')
  return resolve(parts.id, parts.secret)
}

async function accepted(text: string) {
  const answer = await resolved(text)
  if (typeof answer === 'string') throw new Error(answer)
  return answer
}

function resolve(keyId: Id<'key'>, secret: string) {
  const input = { keyId, secretHash: hash('sha256', secret, 'base64url') }
  return policy
    .commandsOf('gateway')
    .call(resolveApiKey, input, { commandId: newId('cmd') })
    .catch((error: { code: string; message: string }) => `${error.code}: ${error.message}`)
}

async function version(): Promise<bigint | undefined> {
  const [row] = await policy.owner.sql.query<{ version: bigint }>(
    'SELECT version FROM revocation_counter',
  )
  return row?.version
}
