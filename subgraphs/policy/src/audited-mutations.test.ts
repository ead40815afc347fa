import type { Actor } from '@berth/platform/actor'
import { newId, newUuid } from '@berth/platform/ids'
import { auditedMutations } from '@berth/schema/testing/audited-mutations'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newOrganization, newPerson, type Policy } from './test-organization.ts'
import { actors, ISSUER, startPolicy } from './test-policy.ts'
import { RATE_KEY } from './test-policy-changes.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

const { operator } = actors
const audited: Record<string, readonly string[]> = auditedMutations.policy
const reason = 'a test'

/** What a mutation is asked with, once what it needs is there. */
const asks: Record<string, () => Promise<{ actor: Actor; input: object }>> = {
  organizationCreate: async () => ({ actor: await newPerson(policy), input: { name: 'New' } }),
  membershipSetRole: async () => {
    const { OWNER, MEMBER } = await newOrganization(policy)
    return { actor: OWNER.actor, input: { id: MEMBER.membershipId, role: 'ADMIN' } }
  },
  membershipRemove: async () => {
    const { OWNER, MEMBER } = await newOrganization(policy)
    return { actor: OWNER.actor, input: { id: MEMBER.membershipId } }
  },
  invitationCreate: async () => ({ actor: await owner(), input: { role: 'MEMBER' } }),
  invitationAccept: async () => {
    const { token } = await made(await owner(), 'invitationCreate', { role: 'MEMBER' }, 'token')
    return { actor: await newPerson(policy), input: { token } }
  },
  invitationRevoke: async () => {
    const actor = await owner()
    const { invitation } = await made(
      actor,
      'invitationCreate',
      { role: 'MEMBER' },
      'invitation { id }',
    )
    return { actor, input: { id: invitation.id } }
  },
  apiKeyCreate: async () => ({ actor: await owner(), input: key }),
  apiKeyRotate: () => withKey(),
  apiKeyRevoke: () => withKey(),
  sessionRevoke: async () => {
    const id = newId('ses')
    await policy.sessions.create({
      id,
      tokenHash: newUuid().replaceAll('-', '').repeat(2),
      issuer: ISSUER,
      subject: 'user',
      issuerSession: null,
      refreshToken: null,
      refreshSeconds: 60,
      idleSeconds: 600,
      lifetimeSeconds: 600,
      userAgent: null,
      clientIp: null,
      replaces: null,
    })
    return { actor: actors.user, input: { id } }
  },
  policySet: async () => ({ actor: operator, input: { ...(await grant()), value: rate(1_000) } }),
  policyReset: async () => {
    const at = await grant()
    await made(operator, 'policySet', { ...at, value: rate(1_000) })
    return { actor: operator, input: { ...at, expectedVersion: 1 } }
  },
  policyRollback: async () => {
    const at = await grant()
    await made(operator, 'policySet', { ...at, value: rate(1_000) })
    await made(operator, 'policySet', { ...at, value: rate(500), expectedVersion: 1 })
    return { actor: operator, input: { ...at, toVersion: 1, expectedVersion: 2 } }
  },
  personSuspend: async () => ({ actor: operator, input: { id: await person(), reason } }),
  personReinstate: async () => {
    const id = await person()
    await made(operator, 'personSuspend', { id, reason })
    return { actor: operator, input: { id, reason } }
  },
  organizationSuspend: async () => ({
    actor: operator,
    input: { id: (await newOrganization(policy)).id, reason },
  }),
  organizationReinstate: async () => {
    const { id } = await newOrganization(policy)
    await made(operator, 'organizationSuspend', { id, reason })
    return { actor: operator, input: { id, reason } }
  },
  signingKeyDeny: async () => ({ actor: operator, input: { keyId: newUuid(), reason } }),
  signingKeyAllow: async () => {
    const keyId = newUuid()
    await made(operator, 'signingKeyDeny', { keyId, reason })
    return { actor: operator, input: { keyId, reason } }
  },
}

const key = { name: 'CI', scopes: ['allocation:read'] }
const rate = (perMinute: number) => ({ perMinute, burst: 10 })
const grant = async () => ({
  key: RATE_KEY,
  level: 'GRANT',
  organizationId: (await newOrganization(policy)).id,
  reason,
  expectedVersion: 0,
})
const owner = async () => (await newOrganization(policy)).OWNER.actor
const person = async () => (await newPerson(policy)).subject

async function withKey() {
  const actor = await owner()
  const { apiKey } = await made(actor, 'apiKeyCreate', key, 'apiKey { id }')
  return { actor, input: { id: apiKey.id } }
}

async function made(
  actor: Actor,
  mutation: string,
  input: object,
  payload = '__typename',
  headers = {},
) {
  const type = `${mutation.charAt(0).toUpperCase()}${mutation.slice(1)}Input`
  const query = `mutation ($input: ${type}!) { it: ${mutation}(input: $input) { ${payload} } }`
  const { data, errors } = await policy.graphql(actor, query, { input }, headers)
  expect(errors, mutation).toBeUndefined()
  return data.it
}

test.each(Object.entries(audited))(
  '%s is audited: %o, with its request',
  async (mutation, actions) => {
    const ask = asks[mutation]
    if (!ask) throw new Error(`say here how ${mutation} is asked`)
    const { actor, input } = await ask()
    const requestId = newUuid()
    await made(actor, mutation, input, '__typename', { 'x-request-id': requestId })
    const rows = await policy.database.sql.query<{
      action: string
      subject: string
      origin: string
    }>(
      `SELECT action, actor->>'sub' AS subject, origin FROM audit_events WHERE request_id = $1 ORDER BY id`,
      [requestId],
    )
    expect(rows.map(({ action }) => action).toSorted()).toEqual(actions.toSorted())
    for (const row of rows) expect(row).toMatchObject({ subject: actor.subject, origin: 'graphql' })
  },
)
