import type { Sql } from '@berth/platform/database'
import { idToUuid, newId, newUuid } from '@berth/platform/ids'
import { createMetrics } from '@berth/platform/metrics'
import { closeRedis, createHints, type Hints, openRedis } from '@berth/platform/pubsub'
import { type Concern, createRevocations, type RevocationPage } from '@berth/platform/revocations'
import { readRevocations } from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { seedId } from './seed.ts'
import { createRevocations as createFeed } from './service/revocations.ts'
import { startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Awaited<ReturnType<typeof startPolicy>>
let sql: Sql

beforeAll(async () => {
  policy = await startPolicy(scope)
  sql = policy.owner.sql
})
afterAll(() => scope.disposeAsync())

const ORG = seedId('org', 'Development')
const OTHER_ORG = newId('org')

test.each<[string, (it: Member) => Promise<unknown>, (it: Member) => Concern[]]>([
  [
    'a membership that is deleted',
    ({ user }) => sql.query('DELETE FROM memberships WHERE user_id = $1', [idToUuid(user)]),
    ({ user }) => [{ kind: 'person', id: user }],
  ],
  [
    'a role that is changed',
    ({ user }) =>
      sql.query(`UPDATE memberships SET role = 'VIEWER' WHERE user_id = $1`, [idToUuid(user)]),
    ({ user }) => [{ kind: 'person', id: user }],
  ],
  [
    'a role that is written as it was',
    ({ user }) =>
      sql.query(`UPDATE memberships SET role = role WHERE user_id = $1`, [idToUuid(user)]),
    () => [],
  ],
  [
    'a membership that goes to another person',
    ({ user, other }) =>
      sql.query('UPDATE memberships SET user_id = $2 WHERE user_id = $1', [
        idToUuid(user),
        idToUuid(other),
      ]),
    ({ user, other }) => [
      { kind: 'person', id: user },
      { kind: 'person', id: other },
    ],
  ],
  [
    'a role of the platform that is given',
    ({ user }) =>
      sql.query(`INSERT INTO platform_roles (user_id, role) VALUES ($1, 'operator')`, [
        idToUuid(user),
      ]),
    ({ user }) => [{ kind: 'person', id: user }],
  ],
  [
    'a sign-in that is unlinked',
    ({ user }) => sql.query('DELETE FROM identity_links WHERE user_id = $1', [idToUuid(user)]),
    ({ user }) => [{ kind: 'person', id: user }],
  ],
  [
    'a sign-in that becomes another person’s',
    ({ user, other }) =>
      sql.query('UPDATE identity_links SET user_id = $2 WHERE user_id = $1', [
        idToUuid(user),
        idToUuid(other),
      ]),
    ({ user, other }) => [
      { kind: 'person', id: user },
      { kind: 'person', id: other },
    ],
  ],
  [
    'an organization that is deleted',
    () => sql.query('DELETE FROM organizations WHERE id = $1', [idToUuid(OTHER_ORG)]),
    () => [{ kind: 'organization', id: OTHER_ORG }],
  ],
  [
    'a policy that is changed',
    () =>
      sql.query(
        `WITH changed AS (
           UPDATE policy_values SET value = jsonb_set(value, '{burst}', '17'), version = version + 1
           WHERE key = 'ratelimit.query' RETURNING id, version, value
         )
         INSERT INTO policy_changes (setting_id, version, value, actor, reason)
         SELECT id, version, value, '{}', 'a test' FROM changed`,
      ),
    () => [{ kind: 'policy', id: 'ratelimit.query' }],
  ],
  [
    'a policy that is set in an organization',
    () =>
      sql.query(
        `WITH changed AS (
           INSERT INTO policy_values (id, key, level, organization_id, value, version)
           VALUES (gen_random_uuid(), 'ratelimit.query', 'GRANT', $1, '{}', 1) RETURNING id, version, value
         )
         INSERT INTO policy_changes (setting_id, version, value, actor, reason)
         SELECT id, version, value, '{}', 'a test' FROM changed`,
        [idToUuid(ORG)],
      ),
    () => [{ kind: 'policy', id: `ratelimit.query.${ORG}` }],
  ],
  [
    'a table that is emptied',
    () => sql.query('TRUNCATE platform_roles'),
    () => [{ kind: 'everyone', id: '' }],
  ],
])('%s concerns whom it concerns, whoever did it', async (_what, change, expected) => {
  const member = await addMember()
  const { version: before } = await read(null)
  await change(member)
  const { version, concerns, isComplete } = await read(before)
  expect(concerns).toHaveLength(expected(member).length)
  expect(concerns).toEqual(expect.arrayContaining(expected(member)))
  expect({ version, isComplete }).toEqual({ version: before + concerns.length, isComplete: true })
})

test('what is undone concerns nobody, and leaves no hole', async () => {
  const { user } = await addMember()
  const { version } = await read(null)
  const failed = policy.owner.sqlTransaction(async (within) => {
    await within.query('DELETE FROM memberships WHERE user_id = $1', [idToUuid(user)])
    throw new Error('changed my mind')
  })
  await expect(failed).rejects.toThrow('changed my mind')
  expect(await read(version)).toEqual({ version, concerns: [], isComplete: true })
})

test('versions follow commits: a reader never skips a late one, nobody waits for an open one', async () => {
  const [early, late] = [await addMember(), await addMember()]
  const { version } = await read(null)
  const changed = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const slow = policy.owner.sqlTransaction(async (within) => {
    await remove(within, early)
    changed.resolve()
    await release.promise
  })
  await changed.promise
  const first = await policy.owner
    .sqlTransaction(async (within) => {
      await within.query(`SET LOCAL lock_timeout = '5s'`)
      await remove(within, late)
    })
    .then(() => read(version))
    .finally(release.resolve)
  expect(first).toMatchObject({ version: version + 1, concerns: [{ id: late.user }] })
  await slow
  expect(await read(first.version)).toMatchObject({
    version: version + 2,
    concerns: [{ id: early.user }],
  })
})

test('racing writers: a reader that follows sees every concern, once, without a gap', async () => {
  const members = await Promise.all(Array.from({ length: 40 }, addMember))
  const { version: start } = await read(null)
  const seen: string[] = []
  let after = start
  let isWriting = true
  const reading = (async () => {
    for (;;) {
      const wasWriting = isWriting
      const page = await read(after, 7)
      expect(page.isComplete).toBe(true)
      expect(page.version).toBe(after + page.concerns.length)
      seen.push(...page.concerns.map(({ id }) => id))
      after = page.version
      if (!wasWriting && page.concerns.length === 0) return
    }
  })()
  await Promise.all(
    members.map((member, n) =>
      policy.owner.sqlTransaction(async (within) => {
        await remove(within, member)
        // Commits in another order than that of the changes.
        await within.query('SELECT pg_sleep($1::float)', [((n * 7) % 40) / 400])
      }),
    ),
  )
  isWriting = false
  await reading
  expect(seen.toSorted()).toEqual(members.map(({ user }) => user).toSorted())
})

test('a statement about very many concerns everyone, in one row', async () => {
  const { version } = await read(null)
  await sql.query(
    `WITH made AS (INSERT INTO users (id, name) SELECT gen_random_uuid(), 'Many' FROM generate_series(1, 1001) RETURNING id)
     SELECT count(*) FROM made`,
  )
  await sql.query(
    `INSERT INTO platform_roles (user_id, role) SELECT id, 'operator' FROM users WHERE name = 'Many'`,
  )
  expect(await read(version)).toEqual({
    version: version + 1,
    concerns: [{ kind: 'everyone', id: '' }],
    isComplete: true,
  })
  await sql.query(`DELETE FROM platform_roles USING users WHERE id = user_id AND name = 'Many'`)
})

test('the service can neither forge, change nor forget one', async () => {
  const app = policy.database.sql
  for (const text of [
    `INSERT INTO revocations (kind, subject, cause) VALUES ('everyone', '', 'me')`,
    'DELETE FROM revocations',
    `UPDATE revocations SET subject = 'x'`,
    'UPDATE revocation_counter SET version = 0',
    `SELECT append_revocations('person', ARRAY['x'], 'me')`,
    'SELECT number_revocations()',
  ]) {
    await expect(app.query(text)).rejects.toMatchObject({ code: '42501' })
  }
})

test('a reader behind what is kept, or ahead of what is known, is told so', async () => {
  const { user } = await addMember()
  const { version: start } = await read(null)
  for (const role of ['VIEWER', 'ADMIN', 'OWNER']) {
    await sql.query('UPDATE memberships SET role = $2 WHERE user_id = $1', [idToUuid(user), role])
  }
  await sql.query(`UPDATE revocations SET at = now() - interval '8 days' WHERE version <= $1`, [
    start + 2,
  ])
  await policy.database.sql.query('SELECT sweep_revocations()')
  const latest = start + 3
  expect(await read(start)).toEqual({ version: latest, concerns: [], isComplete: false })
  expect(await read(start + 2)).toMatchObject({ version: latest, isComplete: true })
  expect(await read(latest + 5)).toEqual({ version: latest, concerns: [], isComplete: false })
})

test('those who decide by it may read it, over the command port', async () => {
  const input = { after: null, limit: 10 }
  const ask = (service: string) =>
    policy.commandsOf(service).call(readRevocations, input, { commandId: newId('cmd') })
  for (const service of readRevocations.callers) {
    expect(await ask(service)).toMatchObject({ concerns: [], isComplete: true })
  }
  await expect(ask('policy')).rejects.toMatchObject({ code: 'FORBIDDEN' })
})

test('a membership deleted by plain SQL is told within 1 s, and without Redis within 3 s', async () => {
  for (const { hints, bound, by } of [
    { hints: heard(), bound: 1_000, by: 'message' },
    { hints: { subscribe: () => () => undefined }, bound: 3_000, by: 'poll' },
  ]) {
    const metrics = createMetrics({ service: 'gateway' })
    const gateway = policy.commandsOf('gateway')
    const told: Concern[] = []
    using feed = createRevocations({
      hints,
      // With messages the poll is no help: what is told in time was told by one.
      pollMs: by === 'message' ? 600_000 : 1_000,
      read: (after) =>
        gateway.call(readRevocations, { after, limit: 1_000 }, { commandId: newUuid() }),
      log: policy.log,
      metrics,
    })
    feed.subscribe((concern) => told.push(concern))
    await vi.waitFor(() => expect(told).toContainEqual({ kind: 'everyone', id: '' }))
    const member = await addMember()
    await remove(sql, member)
    await vi.waitFor(() => expect(told).toContainEqual({ kind: 'person', id: member.user }), {
      timeout: bound,
      interval: 10,
    })
    const { values } = await metrics.counter('berth_revocations_total', '').get()
    expect(values.find(({ labels }) => labels.by === by)?.value).toBe(1)
  }
})

test('two replicas that both tell are one feed, in order', async () => {
  await policy.open()
  const told: Concern[] = []
  using feed = createRevocations({
    hints: heard(),
    read: (after) => feedOf().read({ after, limit: 3 }),
    log: policy.log,
    metrics: createMetrics({ service: 'gateway' }),
  })
  feed.subscribe((concern) => told.push(concern))
  await vi.waitFor(() => expect(told).toContainEqual({ kind: 'everyone', id: '' }))
  const members = await Promise.all(Array.from({ length: 20 }, addMember))
  const { version } = await read(null)
  await Promise.all(members.map((member) => remove(sql, member)))
  const { concerns } = await read(version)
  await vi.waitFor(() => expect(told.filter(({ kind }) => kind === 'person')).toEqual(concerns))
  expect(concerns).toHaveLength(20)
})

type Member = { user: `usr_${string}`; other: `usr_${string}` }

async function addMember(): Promise<Member> {
  const [user, other, org] = [newId('usr'), newId('usr'), newId('org')]
  for (const id of [user, other]) {
    await sql.query(`INSERT INTO users (id, name) VALUES ($1, 'Somebody')`, [idToUuid(id)])
  }
  await sql.query(`INSERT INTO identity_links (issuer, subject, user_id) VALUES ('test', $1, $2)`, [
    user,
    idToUuid(user),
  ])
  for (const id of [org, OTHER_ORG]) {
    await sql.query(
      `INSERT INTO organizations (id, name) VALUES ($1, 'Somewhere') ON CONFLICT DO NOTHING`,
      [idToUuid(id)],
    )
  }
  await sql.query(
    `INSERT INTO memberships (id, organization_id, user_id, role) VALUES ($1, $2, $3, 'MEMBER')`,
    [newUuid(), idToUuid(org), idToUuid(user)],
  )
  return { user, other }
}

function remove(within: Sql, { user }: Member) {
  return within.query('DELETE FROM memberships WHERE user_id = $1', [idToUuid(user)])
}

function feedOf() {
  return createFeed(policy.database)
}

function read(after: number | null, limit = 1_000): Promise<RevocationPage> {
  return feedOf().read({ after, limit })
}

function heard(): Hints {
  const redis = scope.adopt(openRedis(policy.config.REDIS_URL, policy.log), closeRedis)
  return scope.adopt(createHints(redis, policy.log), (it) => it.close())
}
