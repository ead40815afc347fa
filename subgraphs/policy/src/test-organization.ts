import { type Actor, createActor, serviceActor } from '@berth/platform/actor'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import { until } from '@berth/platform/test-kit/index'
import { type OrganizationRole, organizationRoles } from '@berth/schema/events/policy'
import { createOrganization } from './service/create-organization.ts'
import { createDirectoryWrites } from './store/directory.ts'
import type { startPolicy } from './test-policy.ts'

export type Policy = Awaited<ReturnType<typeof startPolicy>>

/** Somebody in an organization, or a person in none. */
export type Somebody = {
  readonly actor: Actor
  readonly userId: Id<'usr'>
  readonly membershipId: Id<'mem'>
}

export type TestOrganization = Record<OrganizationRole, Somebody> & { readonly id: Id<'org'> }

/** A person of no organization. */
export async function newPerson({ owner }: Policy, name = 'Somebody'): Promise<Actor> {
  const id = newId('usr')
  await createDirectoryWrites(owner.sql).addUser({ id, name })
  return createActor({ kind: 'person', subject: id })
}

/** An organization with a member of each role. */
export async function newOrganization(policy: Policy, name = 'Acme'): Promise<TestOrganization> {
  const id = newId('org')
  const members: { id: Id<'mem'>; userId: Id<'usr'>; role: OrganizationRole }[] = []
  for (const role of organizationRoles) {
    const { subject } = await newPerson(policy, role)
    members.push({ id: newId('mem'), userId: subject, role })
  }
  await policy.owner.sqlTransaction((sql) =>
    createOrganization(sql, serviceActor('policy'), { id, name, members }),
  )
  const byRole = members.map((it) => [
    it.role,
    { actor: memberActor(it.userId, id, it.role), userId: it.userId, membershipId: it.id },
  ])
  return { id, ...(Object.fromEntries(byRole) as Record<OrganizationRole, Somebody>) }
}

export function memberActor(
  subject: Id<'usr'>,
  organizationId: Id<'org'>,
  role: OrganizationRole,
): Actor {
  return createActor({ kind: 'person', subject, organizationId, roles: [role.toLowerCase()] })
}

/** What came of a mutation: its payload, or the code that it failed with. */
export async function mutate(
  policy: Policy,
  actor: Actor,
  field: string,
  input: object,
  { payload = '__typename', key }: { payload?: string; key?: string } = {},
  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asked for.
): Promise<any> {
  const type = `${field.charAt(0).toUpperCase()}${field.slice(1)}Input`
  const query = `mutation ($input: ${type}!) { it: ${field}(input: $input) { ${payload} } }`
  const headers: Record<string, string> = key === undefined ? {} : { 'idempotency-key': key }
  const { data, errors } = await policy.graphql(actor, query, { input }, headers)
  return errors ? (errors[0]?.extensions.code ?? 'no code') : data.it
}

/** Everything that the database holds, as text: to look for what it must not. */
export async function dump({ owner: { sql } }: Policy): Promise<string> {
  const tables = await sql.query<{ name: string }>(
    `SELECT relname AS name FROM pg_class
     WHERE relnamespace = 'policy'::regnamespace AND relkind = 'r'`,
  )
  const texts = await Promise.all(
    tables.map(({ name }) =>
      sql.query<{ text: string }>(`SELECT t::text AS text FROM policy.${name} t`),
    ),
  )
  return texts.flatMap((rows) => rows.map(({ text }) => text)).join('\n')
}

/** Types of what an organization's changes told of, oldest first, once all of it is told. */
export async function eventTypes(
  { database }: Policy,
  organizationId: Id<'org'>,
): Promise<string[]> {
  const id = idToUuid(organizationId)
  const rows = await until(async () => {
    const found = await database.sql.query<{ type: string; position: bigint | null }>(
      `SELECT envelope->>'type' AS type, stream_seq AS position FROM outbox
       WHERE organization_id = $1::uuid ORDER BY stream_seq`,
      [id],
    )
    if (found.some(({ position }) => position === null)) throw new Error('not all is told yet')
    return found
  })
  return rows.map(({ type }) => type)
}

/** What people did in an organization, oldest first. */
export async function audits({ database }: Policy, organizationId: Id<'org'>) {
  return database.sql.query<{
    action: string
    target: string
    reason: string | null
    facts: object
    before: object | null
    after: object | null
  }>(
    `SELECT action, target, reason, facts, before, after FROM audit_events
     WHERE organization_id = $1::uuid AND actor->>'kind' = 'person' ORDER BY id`,
    [idToUuid(organizationId)],
  )
}
