import { type Actor, anonymous, createActor, OPERATOR_ROLE } from '@berth/platform/actor'
import { type Id, idToUuid, newId, newUuid } from '@berth/platform/ids'
import { type ActionName, actions } from '@berth/schema/actions'
import { signIn } from '../../issuer/sign-in.ts'
import type { TestPlatform } from '../../scenario/test-platform.ts'

/** What somebody presents to the gateway, over HTTP and in `connection_init`. */
export type Credential = { readonly token: string | null; readonly organizationId: string | null }

/** One column of the matrix: to the gateway, and to a subgraph in the organization that is given. */
export type Column = {
  readonly name: string
  readonly credential: Credential
  actorIn(organizationId: Id<'org'>): Actor
}

const SCOPES = (Object.entries(actions) as [ActionName, { scope: string }][]).flatMap(
  ([name, { scope }]) => (scope === 'tenant' ? [name] : []),
)

const ROLES = ['viewer', 'member', 'billing', 'admin', 'owner'] as const

/**
 * Everybody that the matrix tells of: one person in an organization for each role, their API keys in
 * the one that they own, an operator who belongs to none, and a newcomer.
 */
export async function invitePeople(berth: TestPlatform): Promise<Column[]> {
  const graph = await berth.graph('user')
  const memberships: string[] = []
  const organizations: string[] = []
  for (const role of ROLES) {
    const { organizationCreate: made } = await graph.get<{
      organizationCreate: { organization: { id: string }; membership: { id: string } }
    }>(
      `mutation Make($input: OrganizationCreateInput!) {
        organizationCreate(input: $input) { organization { id } membership { id } }
      }`,
      { input: { name: `Of a ${role}` } },
    )
    organizations.push(made.organization.id)
    memberships.push(idToUuid(made.membership.id))
  }
  await addOwnerToAll(berth)
  await berth.sql(
    `UPDATE policy.memberships SET role = upper(it.role)
     FROM unnest($1::uuid[], $2::text[]) it (id, role) WHERE memberships.id = it.id`,
    [memberships, ROLES],
  )
  await berth.sql(
    `DELETE FROM policy.memberships m USING policy.identity_links l
     WHERE l.user_id = m.user_id AND l.subject IN ('admin', 'operator')`,
  )
  const issuer = String(berth.platform.urls.issuer)
  const user = await signIn(issuer, 'user')
  const owned = organizations.at(-1) ?? ''
  const key = async (scopes: string[]): Promise<Credential> => ({
    token: await makeKey(String(berth.platform.urls.gateway), user, owned, scopes),
    organizationId: owned,
  })
  const person = async (subject: 'admin' | 'operator') => ({
    token: await signIn(issuer, subject),
    organizationId: null,
  })
  const as = (fields: Omit<Parameters<typeof createActor>[0], 'subject'>) =>
    createActor({ ...fields, ...(fields.kind === 'person' && { subject: newId('usr') }) })
  return [
    {
      name: 'anonymous',
      credential: { token: null, organizationId: null },
      actorIn: () => anonymous,
    },
    {
      name: 'newcomer',
      credential: await person('admin'),
      actorIn: () => as({ kind: 'person' }),
    },
    ...ROLES.map((role, i) => ({
      name: role,
      credential: { token: user, organizationId: organizations[i] ?? '' },
      actorIn: (organizationId: Id<'org'>) => as({ kind: 'person', organizationId, roles: [role] }),
    })),
    {
      name: 'operator',
      credential: await person('operator'),
      actorIn: () => as({ kind: 'person', roles: [OPERATOR_ROLE] }),
    },
    {
      name: 'key',
      credential: await key(SCOPES),
      actorIn: (organizationId) => keyIn(organizationId, SCOPES),
    },
    {
      name: 'reading key',
      credential: await key(['allocation:read']),
      actorIn: (organizationId) => keyIn(organizationId, ['allocation:read']),
    },
  ]
}

/** No organization is left without an owner: so there is one who stays. */
async function addOwnerToAll(berth: TestPlatform): Promise<void> {
  const id = newUuid()
  await berth.sql(`INSERT INTO policy.users (id, name) VALUES ($1, 'Keeper')`, [id])
  await berth.sql(
    `INSERT INTO policy.memberships (id, organization_id, user_id, role)
     SELECT gen_random_uuid(), id, $1, 'OWNER' FROM policy.organizations`,
    [id],
  )
}

/** One person is nearly everybody here, and asks more than one does. */
export async function liftRates(berth: TestPlatform): Promise<void> {
  const operator = await berth.graph('operator')
  for (const kind of ['mutation', 'query', 'subscription']) {
    const key = `ratelimit.${kind}`
    const { policy } = await operator.get<{ policy: { settings: { version: number }[] } }>(
      'query Rate($key: String!) { policy(key: $key) { settings { version } } }',
      { key },
    )
    await operator.get(
      'mutation Lift($input: PolicySetInput!) { policySet(input: $input) { version } }',
      {
        input: {
          key,
          level: 'PLATFORM',
          value: { perMinute: 60_000, burst: 10_000 },
          expectedVersion: policy.settings[0]?.version,
          reason: 'a test asks often',
        },
      },
    )
  }
}

function keyIn(organizationId: Id<'org'>, scopes: string[]): Actor {
  const credential = newId('key')
  return createActor({ kind: 'api-key', organizationId, roles: ['owner'], scopes, credential })
}

async function makeKey(
  gateway: string,
  token: string,
  organizationId: string,
  scopes: string[],
): Promise<string> {
  const response = await fetch(`${gateway}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${token}`,
      'berth-organization': organizationId,
    },
    body: JSON.stringify({
      query: 'mutation Key($input: ApiKeyCreateInput!) { apiKeyCreate(input: $input) { secret } }',
      variables: { input: { name: 'robot', scopes } },
    }),
  })
  const { data, errors } = (await response.json()) as {
    data?: { apiKeyCreate: { secret: string } } | null
    errors?: unknown
  }
  if (data) return data.apiKeyCreate.secret
  throw new Error(JSON.stringify(errors))
}
