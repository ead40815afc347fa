import { createCommandClient } from '@berth/platform/commands'
import { type Id, idToUuid, newId, newUuid } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import { createPeers } from '@berth/platform/peers'
import { loadKeys } from '@berth/platform/trusted-keys'
import { readStanding } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newOrganization, type Policy, type TestOrganization } from './test-organization.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
let acme: TestOrganization

beforeAll(async () => {
  policy = await startPolicy(scope)
  acme = await newOrganization(policy)
})
afterAll(() => scope.disposeAsync())

function standingOf(
  userId: Id<'usr'>,
  { organizationId = acme.id, credential = null as string | null, service = 'terminal' } = {},
) {
  const { privateJwk } = loadKeys(policy.config.BERTH_KEYS_DIR, service)
  const peers = scope.adopt(createPeers({ policy: [policy.url] }), (it) => it.close())
  const metrics = createMetrics({ service })
  const commands = createCommandClient({ service, privateJwk, peers, metrics })
  return commands.call(
    readStanding,
    { userId, organizationId, credential },
    { commandId: newUuid() },
  )
}

const set = (text: string, id: string) => policy.owner.sql.query(text, [idToUuid(id)])

const GOOD = (role: string) => ({ standing: 'GOOD', roles: [role] })
const SHUT_OUT = { standing: 'SHUT_OUT', roles: [] }
const SIGNED_OUT = { standing: 'SIGNED_OUT', roles: [] }

test('a member is what they are now, there and nowhere else', async () => {
  const { userId } = acme.MEMBER
  expect(await standingOf(userId)).toEqual(GOOD('member'))
  await set(`UPDATE memberships SET role = 'BILLING' WHERE user_id = $1::uuid`, userId)
  expect(await standingOf(userId)).toEqual(GOOD('billing'))
  const other = await newOrganization(policy, 'Other')
  expect(await standingOf(userId, { organizationId: other.id })).toEqual(SHUT_OUT)
  expect(await standingOf(newId('usr'))).toEqual(SHUT_OUT)
  expect(await standingOf(userId, { organizationId: newId('org') })).toEqual(SHUT_OUT)
  await set('DELETE FROM memberships WHERE user_id = $1::uuid', userId)
  expect(await standingOf(userId)).toEqual(SHUT_OUT)
})

test.each(['users', 'organizations'])('who is suspended is shut out (%s)', async (table) => {
  const organization = await newOrganization(policy, 'Suspended')
  const { userId } = organization.ADMIN
  const of = { organizationId: organization.id }
  expect(await standingOf(userId, of)).toEqual(GOOD('admin'))
  const id = table === 'users' ? userId : organization.id
  const by = idToUuid(organization.OWNER.userId)
  await set(
    `UPDATE ${table} SET suspended_at = now(), suspended_by = '${by}' WHERE id = $1::uuid`,
    id,
  )
  expect(await standingOf(userId, of)).toEqual(SHUT_OUT)
})

test('a session that was ended is; one that ran out is not, and a token’s is not kept here', async () => {
  const { userId } = acme.ADMIN
  const add = async (of: Id<'usr'>, more = '') => {
    const credential = newId('ses')
    await policy.owner.sql.query(
      `INSERT INTO sessions (id, user_id, issuer, subject, token_hash, idle_seconds, expires_at)
       VALUES ($1::uuid, $2::uuid, 'i', 's', sha256($1::text::bytea), 60, now() + interval '1 h')`,
      [idToUuid(credential), idToUuid(of)],
    )
    if (more) await set(`UPDATE sessions SET ${more} WHERE id = $1::uuid`, credential)
    return credential
  }
  const good = [await add(userId), await add(userId, `ended_at = now(), end_reason = 'EXPIRED'`)]
  for (const credential of [...good, 'jwt:1', null]) {
    expect(await standingOf(userId, { credential })).toEqual(GOOD('admin'))
  }
  const ended = ['LOGOUT', 'REVOKED', 'REPLACED', 'ISSUER', 'LIMIT'].map((reason) =>
    add(userId, `ended_at = now(), end_reason = '${reason}'`),
  )
  for (const credential of [...(await Promise.all(ended)), newId('ses')]) {
    expect(await standingOf(userId, { credential })).toEqual(SIGNED_OUT)
  }
  expect(await standingOf(userId, { credential: await add(acme.OWNER.userId) })).toEqual(SIGNED_OUT)
})

test('the terminal alone may ask', async () => {
  const { userId } = acme.OWNER
  await expect(standingOf(userId, { service: 'billing' })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  })
})
