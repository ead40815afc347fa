import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { createActor } from '@berth/platform/actor'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import {
  createSession,
  resolveSession,
  revokeSessions,
  touchSession,
} from '@berth/schema/commands/policy'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seedId } from './seed.ts'
import { SESSIONS_PER_PERSON, type SignIn } from './service/sessions.ts'
import { actors, ISSUER, startPolicy } from './test-policy.ts'

const scope = new AsyncDisposableStack()
let policy: Awaited<ReturnType<typeof startPolicy>>

beforeAll(async () => {
  policy = await startPolicy(scope)
})
afterAll(() => scope.disposeAsync())

function newSignIn(given: Partial<SignIn> = {}): SignIn {
  return {
    id: newId('ses'),
    tokenHash: createHash('sha256').update(randomBytes(32)).digest('hex'),
    issuer: ISSUER,
    subject: 'user',
    issuerSession: null,
    refreshToken: null,
    refreshSeconds: 900,
    idleSeconds: 1_800,
    lifetimeSeconds: 43_200,
    userAgent: 'a browser',
    clientIp: '127.0.0.1',
    replaces: null,
    ...given,
  }
}

async function signedIn(given: Partial<SignIn> = {}): Promise<SignIn> {
  const signIn = newSignIn(given)
  await policy.sessions.create(signIn)
  return signIn
}

/** Credentials concerned by what happens meanwhile. */
async function concernedBy(act: () => Promise<unknown>): Promise<string[]> {
  const rows = () =>
    policy.owner.sql.query<{ subject: string }>(
      `SELECT subject FROM revocations WHERE kind = 'credential' ORDER BY version`,
    )
  const before = await rows()
  await act()
  return (await rows()).slice(before.length).map(({ subject }) => subject)
}

const told = ({ id }: SignIn) => `ses:${idToUuid(id)}`
const change = (text: string, { id }: SignIn) =>
  policy.owner.sql.query(`UPDATE sessions SET ${text} WHERE id = $1::uuid`, [idToUuid(id)])
const isLive = (it: SignIn) =>
  policy.sessions.resolve(it.tokenHash).then(
    () => true,
    (error: { code?: string }) => {
      expect(error.code).toBe('NOT_FOUND')
      return false
    },
  )

test('a session is found by the hash of its cookie, and nobody unknown gets one', async () => {
  const signIn = await signedIn()
  const { id, issuer, subject, expiresIn, idleIn, refreshIn } = await policy.sessions.resolve(
    signIn.tokenHash,
  )
  expect({ id, issuer, subject, refreshIn }).toEqual({
    id: signIn.id,
    issuer: ISSUER,
    subject: 'user',
    refreshIn: null,
  })
  expect(expiresIn).toBeGreaterThan(43_000)
  expect(idleIn).toBeGreaterThan(1_700)
  await expect(signedIn({ subject: 'stranger' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(await isLive(newSignIn())).toBe(false)
})

test.each([
  ['idle for too long', `last_used_at = now() - interval '1801 s'`],
  ['too old, however much it is used', `created_at = now() - interval '13 h', expires_at = now()`],
  ['ended', `ended_at = now(), end_reason = 'REVOKED'`],
])('a session that is %s is none, and cannot be touched back to life', async (_what, text) => {
  const signIn = await signedIn()
  expect(await concernedBy(() => change(text, signIn))).toEqual([told(signIn)])
  await expect(policy.sessions.touch(signIn.id)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(await isLive(signIn)).toBe(false)
})

test('being used keeps it, and concerns nobody', async () => {
  const signIn = await signedIn()
  await change(`last_used_at = now() - interval '1700 s'`, signIn)
  expect(await concernedBy(() => policy.sessions.touch(signIn.id))).toEqual([])
  expect((await policy.sessions.resolve(signIn.tokenHash)).idleIn).toBeGreaterThan(1_700)
})

test('what has ended stays ended, whoever tries', async () => {
  const signIn = await signedIn()
  await policy.sessions.end({ sessionId: signIn.id }, 'LOGOUT')
  await expect(change('ended_at = NULL, end_reason = NULL', signIn)).rejects.toMatchObject({
    code: '23514',
  })
  expect(await policy.sessions.end({ sessionId: signIn.id }, 'LOGOUT')).toEqual([])
})

test('a sign-in in the same browser ends the session of before, in one transaction', async () => {
  const before = await signedIn()
  let after = newSignIn()
  const concerned = await concernedBy(async () => {
    after = await signedIn({ replaces: before.tokenHash })
  })
  expect(concerned).toEqual([told(before)])
  expect([await isLive(before), await isLive(after)]).toEqual([false, true])
})

test('a create that is repeated changes nothing', async () => {
  const before = await signedIn()
  const signIn = newSignIn({ replaces: before.tokenHash })
  await policy.sessions.create(signIn)
  await policy.sessions.create(signIn)
  expect(await isLive(signIn)).toBe(true)
  expect(await auditOf(signIn)).toEqual(['session.create'])
})

test('a person has so many at once: the ones used longest ago end', async () => {
  const first = await signedIn({ subject: 'operator' })
  await change(`last_used_at = now() - interval '60 s'`, first)
  for (let n = 1; n < SESSIONS_PER_PERSON; n++) await signedIn({ subject: 'operator' })
  expect(await isLive(first)).toBe(true)
  await signedIn({ subject: 'operator' })
  expect(await isLive(first)).toBe(false)
  expect(await policy.sessions.own(actors.operator)).toHaveLength(SESSIONS_PER_PERSON)
})

test('the issuer ends the sessions of its own session, and no younger or other ones', async () => {
  const now = new Date()
  const one = await signedIn({ issuerSession: 'sid-1' })
  const other = await signedIn({ issuerSession: 'sid-2' })
  const foreign = await signedIn({ subject: 'admin', issuerSession: 'sid-3' })
  const by = (subject: string | null, issuerSession: string | null, seconds = 60) =>
    policy.sessions.end(
      {
        issuer: ISSUER,
        subject,
        issuerSession,
        createdBefore: new Date(now.getTime() + seconds * 1_000),
      },
      'ISSUER',
    )
  expect(await by('admin', 'sid-1')).toEqual([])
  expect(await by(null, 'sid-1', -60)).toEqual([])
  expect(await by(null, 'sid-1')).toEqual([one.id])
  expect([await isLive(one), await isLive(other), await isLive(foreign)]).toEqual([
    false,
    true,
    true,
  ])
  await by('user', null)
  expect([await isLive(other), await isLive(foreign)]).toEqual([false, true])
})

test('a refresh token is sealed for its row, and had by one at a time', async () => {
  const signIn = await signedIn({ refreshToken: 'secret-1' })
  const stored = async () =>
    (
      await policy.owner.sql.query<{ refresh_token_enc: string | null }>(
        'SELECT refresh_token_enc FROM sessions WHERE id = $1::uuid',
        [idToUuid(signIn.id)],
      )
    )[0]?.refresh_token_enc
  expect(await stored()).toMatch(/^v1\./)
  expect(await policy.sessions.beginRefresh(signIn.id, randomUUID())).toBeNull()

  await change('refresh_at = now()', signIn)
  const leases = Array.from({ length: 20 }, () => randomUUID())
  const had = await Promise.all(leases.map((it) => policy.sessions.beginRefresh(signIn.id, it)))
  expect(had.filter((it) => it !== null)).toEqual(['secret-1'])
  const lease = leases[had.indexOf('secret-1')] ?? ''
  expect(await policy.sessions.beginRefresh(signIn.id, lease)).toBe('secret-1')

  const rotated = { id: signIn.id, refreshToken: 'secret-2', refreshSeconds: 900 }
  const late = await policy.sessions.endRefresh({ ...rotated, lease: randomUUID() })
  expect(late).toBe(false)
  expect(await policy.sessions.endRefresh({ ...rotated, lease })).toBe(true)
  await change('refresh_at = now()', signIn)
  expect(await policy.sessions.beginRefresh(signIn.id, randomUUID())).toBe('secret-2')

  await policy.sessions.end({ tokenHash: signIn.tokenHash }, 'LOGOUT')
  expect(await stored()).toBeNull()
})

test('sweeping takes the secrets of what is over, and forgets what has long been', async () => {
  const over = await signedIn({ refreshToken: 'secret' })
  await change(`last_used_at = now() - interval '1 day'`, over)
  const [old, live] = [await signedIn(), await signedIn({ refreshToken: 'secret' })]
  await change(`ended_at = now() - interval '31 days', end_reason = 'LOGOUT'`, old)
  const concerned = await concernedBy(() =>
    policy.database.sql.query('SELECT sweep_sessions()').then(() => undefined),
  )
  expect(concerned).toEqual([])
  const rows = await policy.owner.sql.query<{ id: string; has: boolean }>(
    'SELECT id, refresh_token_enc IS NOT NULL AS has FROM sessions WHERE id = ANY($1::uuid[])',
    [[over, old, live].map(({ id }) => idToUuid(id))],
  )
  expect(new Map(rows.map(({ id, has }) => [id, has]))).toEqual(
    new Map([
      [idToUuid(over.id), false],
      [idToUuid(live.id), true],
    ]),
  )
})

test('the service can neither bring a session back, nor lengthen, nor delete one', async () => {
  for (const text of [
    'DELETE FROM sessions',
    `UPDATE sessions SET expires_at = now() + interval '29 days'`,
    `UPDATE sessions SET user_id = gen_random_uuid()`,
    `UPDATE sessions SET token_hash = decode(repeat('00', 32), 'hex')`,
  ]) {
    await expect(policy.database.sql.query(text)).rejects.toMatchObject({ code: '42501' })
  }
})

test('a person sees and ends their own sessions, and nobody else’s', async () => {
  const mine = await signedIn({ userAgent: 'mine' })
  const theirs = await signedIn({ subject: 'admin' })
  const me = createActor({ ...base('user'), credential: mine.id })
  const { data } = await policy.graphql(me, '{ sessions { id isCurrent userAgent } }')
  expect(data.sessions).toContainEqual({ id: mine.id, isCurrent: true, userAgent: 'mine' })
  expect(data.sessions.map(({ id }: { id: string }) => id)).not.toContain(theirs.id)

  const REVOKE = 'mutation ($id: ID!) { sessionRevoke(input: { id: $id }) { sessionId } }'
  const refused = await policy.graphql(me, REVOKE, { id: theirs.id })
  const unknown = await policy.graphql(me, REVOKE, { id: newId('ses') })
  expect(refused.errors?.[0]?.extensions.code).toBe('NOT_FOUND')
  expect(refused.errors?.[0]?.message).toBe(unknown.errors?.[0]?.message)
  expect(await isLive(theirs)).toBe(true)

  const concerned = await concernedBy(async () => {
    const { data: ended } = await policy.graphql(me, REVOKE, { id: mine.id })
    expect(ended.sessionRevoke).toEqual({ sessionId: mine.id })
  })
  expect(concerned).toEqual([told(mine)])
  expect(await auditOf(mine)).toEqual(['session.create', 'session.end'])

  const key = createActor({ kind: 'api-key', organizationId: seedId('org', 'Development') })
  const asKey = await policy.graphql(key, '{ sessions { id } }')
  expect(asKey.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
})

test('the gateway alone asks, and the feed names a session as its actors do', async () => {
  const gateway = policy.commandsOf('gateway')
  const by = () => ({ commandId: newId('cmd') })
  const signIn = newSignIn()
  await gateway.call(createSession, signIn, by())
  expect((await gateway.call(resolveSession, { tokenHash: signIn.tokenHash }, by())).id).toBe(
    signIn.id,
  )
  await gateway.call(touchSession, { id: signIn.id }, by())
  const which = { tokenHash: signIn.tokenHash }
  expect(await gateway.call(revokeSessions, { which, reason: 'LOGOUT' }, by())).toEqual({
    ended: [signIn.id],
  })
  await expect(
    policy.commandsOf('terminal').call(resolveSession, { tokenHash: signIn.tokenHash }, by()),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' })
  const { createRevocations } = await import('./service/revocations.ts')
  const feed = createRevocations(policy.database)
  const { version } = await feed.read({ after: null, limit: 1 })
  const { concerns } = await feed.read({ after: version - 1, limit: 1 })
  expect(concerns).toEqual([{ kind: 'credential', id: signIn.id }])
})

function base(subject: string) {
  return {
    kind: 'person' as const,
    subject: seedId('usr', subject),
    organizationId: seedId('org', 'Development') as Id<'org'>,
    roles: ['member'],
  }
}

async function auditOf({ id }: SignIn): Promise<string[]> {
  const rows = await policy.owner.sql.query<{ action: string }>(
    'SELECT action FROM audit_events WHERE target = $1 ORDER BY id',
    [id],
  )
  return rows.map(({ action }) => action)
}
