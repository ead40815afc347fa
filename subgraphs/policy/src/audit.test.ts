import { type Actor, createActor } from '@berth/platform/actor'
import { ACTOR_HEADER } from '@berth/platform/assertion'
import { type Id, idToUuid, newId, newUuid } from '@berth/platform/ids'
import { until } from '@berth/platform/test-kit/index'
import { appendAuditTrail } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { downloadExport } from './audit-tool/download.ts'
import { checkExport } from './domain/audit-export.ts'
import type { ArrivedAudit } from './service/audit-trail.ts'
import { verifyAudit } from './service/audit-verify.ts'
import {
  memberActor,
  newOrganization,
  type Policy,
  type TestOrganization,
} from './test-organization.ts'
import { actors, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Policy
let acme: TestOrganization
beforeAll(async () => {
  policy = await startPolicy(scope)
  acme = await newOrganization(policy)
})
afterAll(() => scope.disposeAsync())

const FIELDS = `id at domain action target reason requestId origin position hash
  facts { name value } before { name value } after { name value }
  actor { kind userId credentialId service roles user { name } }`

const LIST = `query ($filter: AuditFilter, $first: Int, $after: String) {
  auditEvents(filter: $filter, first: $first, after: $after) {
    edges { cursor } nodes { ${FIELDS} } pageInfo { hasNextPage endCursor }
  }
}`
const PLATFORM = `query ($organizationId: ID, $filter: AuditFilter) {
  platformAuditEvents(organizationId: $organizationId, filter: $filter) { nodes { ${FIELDS} } }
}`
const EXPORT = `query ($input: AuditExportInput) {
  auditExport(input: $input) { ndjson endCursor hasNextPage keys }
}`

type Listed = {
  id: string
  domain: string
  action: string
  target: string
  actor: { user: { name: string } | null }
}

async function list(actor: Actor, variables: object = {}) {
  const { data, errors } = await policy.graphql(actor, LIST, variables)
  if (errors) throw new Error(errors[0]?.extensions.code)
  return data.auditEvents as {
    edges: { cursor: string }[]
    nodes: Listed[]
    pageInfo: { hasNextPage: boolean; endCursor: string }
  }
}

/** Everything that policy itself audited is in the trail. */
async function settled(): Promise<void> {
  await until(async () => {
    expect(await policy.database.sql.query('SELECT FROM audit_relay')).toEqual([])
  })
}

function arrived(
  organizationId: Id<'org'> | null,
  given: Partial<ArrivedAudit> = {},
): ArrivedAudit {
  return {
    id: newUuid(),
    organizationId: organizationId && idToUuid(organizationId),
    actor: JSON.stringify({ kind: 'service', svc: 'billing', roles: [], scopes: [] }),
    action: 'hold.place',
    target: newId('hld'),
    reason: null,
    facts: '{"n":1}',
    before: null,
    after: null,
    requestId: null,
    origin: null,
    ...given,
  }
}

function append(service: string, events: ArrivedAudit[]) {
  return policy.commandsOf(service).call(appendAuditTrail, { events }, { commandId: newUuid() })
}

async function exported(actor: Actor, { from, to }: { from?: Date; to?: Date } = {}) {
  const headers = { [ACTOR_HEADER]: await policy.assertionOf(actor) }
  const endpoint = `${policy.url}/graphql`
  return downloadExport({ endpoint, headers, from: from?.toISOString(), to: to?.toISOString() })
}

test('a change is told to the organization’s owners and admins: who, what, on what, from where, why', async () => {
  const { userId, membershipId } = acme.VIEWER
  const credential = newId('ses')
  const owner = createActor({
    kind: 'person',
    subject: acme.OWNER.userId,
    organizationId: acme.id,
    roles: ['owner'],
    credential,
  })
  const mutation = `mutation { membershipSetRole(input: {
    id: "${membershipId}", role: BILLING, reason: "pays from now on"
  }) { membership { id } } }`
  const headers = { 'x-request-id': 'a-request-of-mine' }
  expect((await policy.graphql(owner, mutation, {}, headers)).errors).toBeUndefined()
  await settled()
  for (const actor of [acme.OWNER.actor, acme.ADMIN.actor]) {
    const { nodes } = await list(actor, { first: 1 })
    expect(nodes).toEqual([
      {
        id: expect.stringMatching(/^aud_/),
        at: expect.any(String),
        domain: 'policy',
        action: 'membership.setRole',
        target: membershipId,
        reason: 'pays from now on',
        requestId: 'a-request-of-mine',
        origin: 'graphql',
        position: expect.any(Number),
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        facts: [{ name: 'userId', value: userId }],
        before: [{ name: 'role', value: 'VIEWER' }],
        after: [{ name: 'role', value: 'BILLING' }],
        actor: {
          kind: 'PERSON',
          userId: acme.OWNER.userId,
          credentialId: credential,
          service: null,
          roles: ['owner'],
          user: { name: 'OWNER' },
        },
      },
    ])
  }
})

test('nobody else sees it: neither members, nor another organization, nor an operator unasked', async () => {
  for (const role of ['MEMBER', 'BILLING', 'VIEWER'] as const) {
    for (const query of [LIST, EXPORT]) {
      const { errors } = await policy.graphql(acme[role].actor, query)
      expect(errors?.[0]?.extensions.code, role).toBe('FORBIDDEN')
    }
  }
  const other = await newOrganization(policy, 'Other')
  await settled()
  const { nodes } = await list(other.OWNER.actor, { first: 100 })
  expect(nodes.map(({ action }) => action).toSorted()).toEqual([
    ...Array.from({ length: 5 }, () => 'membership.add'),
    'organization.create',
  ])
  const targets = (await list(acme.OWNER.actor, { first: 100 })).nodes.map((it) => it.target)
  for (const { target } of nodes) expect(targets).not.toContain(target)
  const refused = await policy.graphql(other.OWNER.actor, PLATFORM, { organizationId: acme.id })
  expect(refused.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  const { ndjson } = await exported(other.OWNER.actor)
  expect(ndjson).not.toContain(acme.id)
})

test('operators see the platform’s own, and an organization’s so that it can see that they did', async () => {
  const target = newId('nod')
  await append('inventory', [arrived(null, { action: 'node.enroll', target })])
  const platform = await policy.graphql(actors.operator, PLATFORM, { filter: { action: 'node.' } })
  expect(platform.data.platformAuditEvents.nodes).toMatchObject([{ domain: 'inventory', target }])
  const filter = { action: 'membership.setRole' }
  const read = await policy.graphql(actors.operator, PLATFORM, { organizationId: acme.id, filter })
  expect(read.data.platformAuditEvents.nodes).toHaveLength(1)
  await settled()
  const { nodes } = await list(acme.OWNER.actor, { filter: { action: 'audit.' } })
  expect(nodes).toMatchObject([
    {
      action: 'audit.read',
      target: acme.id,
      actor: { userId: actors.operator.subject, user: null },
      facts: [
        { name: 'action', value: 'membership.setRole' },
        { name: 'domain', value: null },
      ],
    },
  ])
  const bad = await policy.graphql(actors.operator, PLATFORM, { organizationId: newId('usr') })
  expect(bad.errors?.[0]?.extensions.code).toBe('BAD_INPUT')
})

test('a domain is whoever calls, and nothing in the body makes it another', async () => {
  const { id } = await newOrganization(policy, 'Called')
  await append('billing', [arrived(id)])
  await append('allocations', [arrived(id, { action: 'allocation.create' })])
  const { nodes } = await list(memberActor(newId('usr'), id, 'OWNER'), {
    filter: { domain: 'billing' },
  })
  expect(nodes).toMatchObject([{ domain: 'billing', action: 'hold.place' }])
  for (const service of ['gateway', 'terminal', 'policy']) {
    await expect(append(service, [arrived(id)])).rejects.toMatchObject({ code: 'FORBIDDEN' })
  }
  // Past the client's own check.
  const forging = policy
    .commandsOf('billing')
    .call(
      { ...appendAuditTrail, input: z.any() },
      { events: [{ ...arrived(id), domain: 'policy' }] },
      { commandId: newUuid() },
    )
  await expect(forging).rejects.toMatchObject({ code: 'BAD_INPUT' })
  const broken = arrived(id, { facts: '{' })
  await expect(append('billing', [broken])).rejects.toMatchObject({ code: 'BAD_INPUT' })
})

test('filters narrow to a domain, an action, an actor, a target and a time', async () => {
  const { id, OWNER } = await newOrganization(policy, 'Filtered')
  const [key, target, other] = [newId('key'), newId('alc'), newId('alc')]
  const by = JSON.stringify({ kind: 'api-key', cred: key, org: id, roles: ['member'], scopes: [] })
  await append('allocations', [
    arrived(id, { action: 'allocation.create', target, actor: by }),
    arrived(id, { action: 'allocation.release', target }),
    arrived(id, { action: 'allocation.create', target: other }),
  ])
  const count = async (filter: object) => (await list(OWNER.actor, { filter })).nodes.length
  expect(await count({ domain: 'allocations' })).toBe(3)
  expect(await count({ action: 'allocation.' })).toBe(3)
  expect(await count({ action: 'allocation.create' })).toBe(2)
  expect(await count({ actor: key })).toBe(1)
  expect(await count({ target })).toBe(2)
  expect(await count({ target, action: 'allocation.create', actor: key })).toBe(1)
  expect(await count({ domain: 'allocations', from: new Date(Date.now() + 60_000) })).toBe(0)
  expect(await count({ domain: 'allocations', to: new Date(Date.now() - 60_000) })).toBe(0)
  // What would mean something to a pattern is a character like any other.
  expect(await count({ action: '%' })).toBe(0)
  await expect(list(OWNER.actor, { filter: { action: 'x'.repeat(201) } })).rejects.toThrow(
    'BAD_INPUT',
  )
  await expect(list(OWNER.actor, { first: 101 })).rejects.toThrow('BAD_INPUT')
  await expect(list(OWNER.actor, { after: 'nonsense' })).rejects.toThrow('BAD_INPUT')
})

test('pages neither skip nor repeat an event while others are written', async () => {
  const { id, OWNER } = await newOrganization(policy, 'Paged')
  const first = Array.from({ length: 25 }, () => arrived(id))
  await append('billing', first)
  const seen: string[] = []
  let after: string | null = null
  for (;;) {
    const page = await list(OWNER.actor, { filter: { domain: 'billing' }, first: 4, after })
    seen.push(...page.nodes.map((it) => it.target))
    await append('billing', [arrived(id), arrived(id)])
    if (!page.pageInfo.hasNextPage) break
    after = page.pageInfo.endCursor
  }
  expect(seen).toEqual(first.map((it) => it.target).toReversed())
})

test('a page of events by many people reads the people at once', async () => {
  const { id, OWNER, ADMIN, MEMBER } = await newOrganization(policy, 'Busy')
  const by = [OWNER, ADMIN, MEMBER].flatMap(({ userId }) =>
    Array.from({ length: 10 }, () =>
      arrived(id, { actor: JSON.stringify({ kind: 'person', sub: userId, roles: [] }) }),
    ),
  )
  await append('billing', by)
  const query = vi.spyOn(policy.database.pool, 'query')
  const { nodes } = await list(OWNER.actor, { filter: { domain: 'billing' } })
  const texts = query.mock.calls.map(
    ([it]) => (it as never as { text?: string }).text ?? String(it),
  )
  const ofPeople = texts.filter((text) => text.includes('"users"'))
  query.mockRestore()
  expect(ofPeople).toHaveLength(1)
  expect(new Set(nodes.map((it) => it.actor.user?.name))).toEqual(
    new Set(['ADMIN', 'MEMBER', 'OWNER']),
  )
})

test('an export is checked by whoever has it, with nothing but a public key', async () => {
  const { id, OWNER } = await newOrganization(policy, 'Exporting')
  const noise = await newOrganization(policy, 'Noise')
  for (let n = 0; n < 4; n += 1) {
    await append(
      'billing',
      Array.from({ length: 300 }, (_, i) => arrived(i % 2 ? id : noise.id)),
    )
    if (n === 1) await policy.auditTrail.checkpointAll()
  }
  await settled()
  const { ndjson, pages, keys } = await exported(OWNER.actor)
  expect(pages).toBeGreaterThan(2)
  const lines = ndjson.trimEnd().split('\n')
  const check = checkExport(ndjson, keys)
  expect(check).toMatchObject({ entries: 600 + 6, breaks: [] })
  expect(check.checkpoints).toBe(lines.length - check.entries)
  expect(keys.keys.map(({ kid }) => kid)).toEqual(['policy-1'])

  const broken: [string, string[]][] = [
    ['was changed', lines.with(5, lines[5]?.replace('"n":1', '"n":2') ?? '')],
    ['are missing or moved', lines.toSpliced(5, 1)],
    ['are missing or moved', lines.with(5, lines[6] ?? '').with(6, lines[5] ?? '')],
    ['is not signed', lines.filter((it) => !it.includes('"checkpoint"')).slice(0, 20)],
    ['line 6 is broken', lines.with(5, 'x')],
  ]
  for (const [what, altered] of broken) {
    const { breaks } = checkExport(`${altered.join('\n')}\n`, keys)
    expect(breaks.map((it) => it.what).join(), what).toContain(what)
  }
  const { breaks } = checkExport(ndjson, { keys: [] })
  expect(breaks[0]?.what).toBe('a checkpoint is not signed')
})

test('an export comes to its end, whatever is written meanwhile', async () => {
  const { id, OWNER } = await newOrganization(policy, 'Busy')
  const more = (count: number) =>
    append(
      'billing',
      Array.from({ length: count }, () => arrived(id)),
    )
  await more(450)
  await more(450)
  await settled()
  const pageAfter = async (after: string | null) =>
    (await policy.graphql(OWNER.actor, EXPORT, { input: { after } })).data.auditExport
  let entries = 0
  let page = { endCursor: null, hasNextPage: true, ndjson: '' }
  for (let pages = 0; page.hasNextPage; pages++) {
    expect(pages).toBeLessThan(5)
    page = await pageAfter(page.endCursor)
    entries += page.ndjson.match(/"type":"entry"/g)?.length ?? 0
    await more(450)
  }
  expect(entries).toBe(900 + 6)
  // Nobody gets further than it goes.
  const beyond = await pageAfter('billing/0/999999999')
  expect(beyond.hasNextPage).toBe(true)
  expect((await pageAfter('policy/6/999999999')).hasNextPage).toBe(false)
})

test('an export of a time is widened to what can be checked', async () => {
  const { id, OWNER } = await newOrganization(policy, 'Ranged')
  const batches = [0, 1, 2].map(() => Array.from({ length: 5 }, () => arrived(id)))
  const times: Date[] = []
  for (const batch of batches) {
    await append('billing', batch)
    times.push(new Date())
    await until(() => expect(Date.now()).toBeGreaterThan((times.at(-1)?.getTime() ?? 0) + 2))
    await policy.auditTrail.checkpointAll()
  }
  const batch = batches[1]?.map((it) => it.target) ?? []
  // Made before they were sent: by the time in their ids.
  const at = (it: ArrivedAudit | undefined) =>
    it ? Number.parseInt(it.id.replace('-', '').slice(0, 12), 16) : 0
  const from = new Date(at(batches[1]?.[0]))
  const { ndjson, keys } = await exported(OWNER.actor, { from, to: new Date(from.getTime() + 1) })
  for (const target of batch.slice(0, 1)) expect(ndjson).toContain(target)
  expect(checkExport(ndjson, keys).breaks).toEqual([])
  const nothing = await exported(OWNER.actor, { from: new Date(Date.now() + 60_000) })
  expect(nothing.ndjson).toBe('')
  const bad = await policy.graphql(OWNER.actor, EXPORT, { input: { after: 'billing' } })
  expect(bad.errors?.[0]?.extensions.code).toBe('BAD_INPUT')
})

test('all of it verifies', async () => {
  await settled()
  await policy.auditTrail.checkpointAll()
  const keys = JSON.parse((await policy.graphql(acme.OWNER.actor, EXPORT)).data.auditExport.keys)
  const verdicts = await verifyAudit({ sql: policy.database.sql, keys, now: new Date() })
  expect(verdicts.map(({ domain }) => domain)).toEqual([
    'allocations',
    'billing',
    'inventory',
    'policy',
  ])
  for (const { domain, links, signed, breaks } of verdicts) {
    expect({ domain, signed, breaks }).toEqual({ domain, signed: links, breaks: [] })
  }
})
