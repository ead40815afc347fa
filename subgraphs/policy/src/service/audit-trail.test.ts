import { systemClock } from '@berth/platform/clock'
import type { Sql } from '@berth/platform/database'
import { deriveUuid, newUuid } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { testDatabase } from '@berth/platform/test-kit/index'
import { newServiceKey } from '@berth/platform/trusted-keys'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openPolicyDatabase, type PolicyDatabase } from '../database.ts'
import { type Anchor, readAnchors } from '../domain/audit-anchor.ts'
import { type Head, type Link, seal, WHOLE } from '../domain/audit-chain.ts'
import {
  createCheckpointSigner,
  type PublicKeys,
  readCheckpoint,
} from '../domain/audit-checkpoint.ts'
import { latestCheckpoints, readLinks } from '../store/audit-trail.ts'
import { type ArrivedAudit, type AuditTrail, createAuditTrail } from './audit-trail.ts'
import { verifyAudit } from './audit-verify.ts'

const { privateJwk, publicJwk } = newServiceKey('policy')
const keys: PublicKeys = { keys: [publicJwk] }
const [ACME, OTHER] = [newUuid(), newUuid()]

let scope: AsyncDisposableStack
let database: PolicyDatabase
let admin: PolicyDatabase
let trail: AuditTrail
let lines: string[]

beforeEach(async () => {
  scope = new AsyncDisposableStack()
  const kit = scope.use(await testDatabase('policy'))
  const open = (url: string) => scope.adopt(openPolicyDatabase(url), (it) => it.close())
  database = open(kit.appUrl)
  admin = open(kit.adminUrl)
  lines = []
  trail = replica()
})
afterEach(() => scope.disposeAsync())

function replica(): AuditTrail {
  return createAuditTrail({
    database,
    sign: createCheckpointSigner(privateJwk),
    keys,
    clock: systemClock,
    log: createLog({
      service: 'policy',
      instance: 'policy-1',
      destination: { write: (line) => void lines.push(line) },
    }),
    metrics: createMetrics({ service: 'policy' }),
  })
}

function event(given: Partial<ArrivedAudit> = {}): ArrivedAudit {
  return {
    id: newUuid(),
    organizationId: ACME,
    actor: JSON.stringify({ kind: 'person', sub: 'usr_1', roles: ['owner'] }),
    action: 'thing.change',
    target: 'thg_1',
    reason: 'asked — ü',
    facts: JSON.stringify({ n: 0.1, big: 1e21, list: 'ä\u2028', is: true, none: null }),
    before: null,
    after: JSON.stringify({ role: 'owner' }),
    requestId: 'request-1',
    origin: 'graphql',
    ...given,
  }
}

function events(count: number): ArrivedAudit[] {
  const owners = [ACME, OTHER, null]
  return Array.from({ length: count }, (_, n) => event({ organizationId: owners[n % 3] ?? null }))
}

/** As whoever has every right on the database, and no key. */
function tamper(how: (sql: Sql) => Promise<unknown>): Promise<unknown> {
  return admin.sqlTransaction(async (sql) => {
    await sql.query('SET LOCAL session_replication_role = replica')
    await how(sql)
  })
}

async function breaksOf(anchors: Anchor[] = [], now = new Date()): Promise<string[]> {
  const verdicts = await verifyAudit({ sql: database.sql, keys, anchors, now })
  return verdicts.flatMap(({ domain, breaks }) =>
    breaks.map((it) => `${domain} ${it.trail.slice(0, 4)} ${it.position}: ${it.what}`),
  )
}

test('what is sealed verifies, whoever reads it back, in all domains and in what order it came', async () => {
  await trail.append('billing', events(7))
  await trail.append('inventory', events(5))
  await trail.append('billing', events(4))
  await trail.checkpointAll()
  await trail.append('billing', events(2))
  expect(await verifyAudit({ sql: database.sql, keys, now: new Date() })).toEqual([
    { domain: 'billing', links: 13, signed: 11, breaks: [] },
    { domain: 'inventory', links: 5, signed: 5, breaks: [] },
  ])
  // Each organization's own trail has no gap either.
  const links = await readLinks(database.sql, 'billing', 0, 100)
  for (const own of Map.groupBy(links, (it) => it.trail).values()) {
    expect(own.map((it) => it.trailPosition)).toEqual(own.map((_, n) => n + 1))
  }
})

test.each([
  '{"b":1,"a":{"z":[],"y":{}},"":null,"\\u0001":"\\u0001"}',
  '[0, -0, 1e21, 1E-7, 0.1, 333333333.33333329, 9007199254740993, 5e-324, 1.7976931348623157e308]',
  '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew","1":"One","\\ud83d\\ude00":"Smiley"}',
  '"a text \\u2028 \\" \\\\ \\/"',
  'true',
  '{"same":1,"same":2}',
])('%s is sealed as Postgres gives it back', async (facts) => {
  await trail.append('billing', [event({ facts, before: facts, actor: facts })])
  await trail.checkpointAll()
  expect(await breaksOf()).toEqual([])
})

test('what comes again is appended once: alone, in a batch, at two replicas at once', async () => {
  const batch = events(20)
  const [first] = batch as [ArrivedAudit]
  const counts = await Promise.all(
    [trail, replica(), replica(), trail].map((it) => it.append('billing', [...batch, first])),
  )
  expect(counts.toSorted()).toEqual([0, 0, 0, 20])
  expect(await trail.append('billing', [first, event()])).toBe(1)
  // Another domain's ids are its own: none can keep another's out.
  expect(await trail.append('inventory', [first])).toBe(1)
  expect((await readLinks(database.sql, 'billing', 0, 100)).map((it) => it.fields.id)).toEqual([
    ...batch.map(({ id }) => id),
    expect.any(String),
  ])
  expect(await breaksOf()).toEqual([])
})

test('racing appenders and signers leave one chain without a gap', async () => {
  const replicas = [trail, replica(), replica()]
  await Promise.all(
    Array.from({ length: 12 }, async (_, n) => {
      const own = replicas[n % 3] as AuditTrail
      await own.append('billing', events(5))
      if (n % 4 === 0) await own.checkpointAll()
    }),
  )
  await trail.checkpointAll()
  const [verdict] = await verifyAudit({ sql: database.sql, keys, now: new Date() })
  expect(verdict).toEqual({ domain: 'billing', links: 60, signed: 60, breaks: [] })
})

test('an entry that waited for months is taken', async () => {
  const old = new Date()
  old.setUTCMonth(old.getUTCMonth() - 5)
  expect(await trail.append('billing', [event({ id: deriveUuid(old, 'a cause') })])).toBe(1)
  expect(await breaksOf([], old)).toEqual([])
})

test('the service can change nothing of it, and the owner of the tables is refused as well', async () => {
  await trail.append('billing', events(3))
  await trail.checkpointAll()
  const [{ name: partition } = { name: '' }] = await database.sql.query<{ name: string }>(
    'SELECT tableoid::regclass::text AS name FROM audit_trail LIMIT 1',
  )
  const statements = ['audit_trail', 'audit_checkpoints', partition].flatMap((table) => [
    `UPDATE ${table} SET domain = 'x'`,
    `DELETE FROM ${table}`,
    `TRUNCATE ${table}`,
  ])
  for (const statement of statements) {
    const refused = { code: '42501' }
    await expect(database.sql.query(statement), statement).rejects.toMatchObject(refused)
    // A superuser is refused by nothing but triggers.
    await expect(admin.sql.query(statement), statement).rejects.toMatchObject(refused)
  }
  await expect(database.sql.query('DELETE FROM audit_heads')).rejects.toMatchObject({
    code: '42501',
  })
})

test.each<[string, string[], (sql: Sql) => Promise<unknown>]>([
  [
    'a row is changed',
    ['org_ 2: entry'],
    (sql) => sql.query(`UPDATE audit_trail SET reason = 'nobody asked' WHERE position = 4`),
  ],
  [
    'a row of the platform is given to an organization',
    ['org_ 1: entry'],
    (sql) =>
      sql.query('UPDATE audit_trail SET organization_id = $1::uuid WHERE position = 3', [
        newUuid(),
      ]),
  ],
  [
    'a row is deleted',
    ['* 6: 5 to 5 are missing', 'org_ 3: 2 to 2 are missing'],
    (sql) => sql.query('DELETE FROM audit_trail WHERE position = 5'),
  ],
  [
    'two rows change places',
    ['* 4: link 4', '* 7: link 7'],
    (sql) =>
      sql.query(
        `UPDATE audit_trail SET position = 11 - position, trail_position = 5 - trail_position
         WHERE position IN (4, 7)`,
      ),
  ],
  [
    'a row is put in',
    ['* 10: position 10 comes again'],
    (sql) =>
      sql.query(
        `INSERT INTO audit_trail SELECT domain, position, hash, organization_id, trail_position,
           entry_hash, gen_random_uuid(), at, actor, action, target, reason, facts
         FROM audit_trail WHERE position = 10`,
      ),
  ],
  [
    'the end is cut off, the head set back',
    ['* 12: 10 to 12 are gone: the latest checkpoint names them'],
    async (sql) => {
      await sql.query('DELETE FROM audit_trail WHERE position > 9')
      await setHeads(sql)
    },
  ],
  [
    'everything is gone but the checkpoints',
    ['* 12: 1 to 12 are gone'],
    async (sql) => {
      await sql.query('DELETE FROM audit_trail')
      await sql.query('DELETE FROM audit_heads')
    },
  ],
  [
    'the chain is written anew from a changed row on, heads included, without the key',
    ['* 12: up to 12 it is not what was signed', 'org_ 4: up to 4 it is not what was signed'],
    (sql) => rewrite(sql),
  ],
  [
    'it is written anew, and its checkpoints are signed with another key',
    ['* 12: the checkpoint at 12 is not signed by policy'],
    async (sql) => {
      await rewrite(sql)
      const links = await readLinks(sql, 'billing', 0, 100)
      const last = links.at(-1) as Link
      const at = new Date().toISOString()
      const { position, hash } = last
      // The same key id, and a service's key of its own.
      const forge = createCheckpointSigner(newServiceKey('policy').privateJwk)
      await sql.query(`UPDATE audit_checkpoints SET statement = $1 WHERE trail = '*'`, [
        forge({ domain: 'billing', trail: WHOLE, position, hash, at }),
      ])
    },
  ],
  [
    'it is written anew, and all checkpoints are removed',
    ['* 1: what follows 0 is not signed'],
    async (sql) => {
      await rewrite(sql)
      await sql.query('DELETE FROM audit_checkpoints')
    },
  ],
])('when %s, it is found and named', async (_what, expected, how) => {
  await trail.append('billing', events(12))
  await trail.checkpointAll()
  expect(await breaksOf()).toEqual([])
  await tamper(how)
  const later = new Date(Date.now() + 60 * 60_000)
  const breaks = await breaksOf([], later)
  for (const one of expected) {
    expect(breaks).toEqual(expect.arrayContaining([expect.stringContaining(`billing ${one}`)]))
  }
})

test('even with all its checkpoints, a cut is found by one that is kept elsewhere: the log has each', async () => {
  await trail.append('billing', events(12))
  await trail.checkpointAll()
  const logged = readAnchors(lines.join(''), keys)
  expect(logged).toEqual([expect.objectContaining({ trail: WHOLE, position: 12 })])
  await tamper(async (sql) => {
    await sql.query('DELETE FROM audit_trail WHERE position > 9')
    await sql.query('DELETE FROM audit_checkpoints')
    await setHeads(sql)
  })
  await trail.checkpointAll()
  expect(await breaksOf()).toEqual([])
  expect(await breaksOf(logged)).toEqual([
    expect.stringContaining('billing * 12: 10 to 12 are gone: the checkpoint that was kept'),
  ])
  const forged = JSON.stringify({ type: 'checkpoint', statement: 'e30.e30.' })
  expect(() => readAnchors(forged, keys)).toThrow('not signed by policy')
})

test('what was tampered with since the last checkpoint is not signed over', async () => {
  await trail.append('billing', events(6))
  await trail.checkpointAll()
  await trail.append('billing', events(6))
  await tamper((sql) => rewrite(sql))
  await trail.append('billing', events(1))
  await trail.checkpointAll()
  const [latest] = await latestCheckpoints(database.sql, 'billing', [WHOLE])
  expect(latest?.position).toBe(6)
  expect(lines.some((line) => line.includes('tampered'))).toBe(true)
})

test('another service’s key signs no checkpoint', () => {
  const other = newServiceKey('billing')
  const at = {
    domain: 'billing',
    trail: WHOLE,
    position: 1,
    hash: 'ab',
    at: '2026-01-01T00:00:00Z',
  }
  const statement = createCheckpointSigner(other.privateJwk)(at)
  expect(readCheckpoint(statement, { keys: [publicJwk, other.publicJwk] })).toBeNull()
  const own = createCheckpointSigner(privateJwk)(at)
  expect(readCheckpoint(own, keys)).toEqual(at)
  for (const part of [0, 1, 2]) {
    const parts = own.split('.')
    parts[part] = `${parts[part]?.slice(0, -2)}${parts[part]?.endsWith('AA') ? 'BB' : 'AA'}`
    expect(readCheckpoint(parts.join('.'), keys)).toBeNull()
  }
})

/** All from the fourth row on, with another reason in it, by the rules of the chain. */
async function rewrite(sql: Sql): Promise<void> {
  const links = await readLinks(sql, 'billing', 0, 100)
  const heads = new Map<string, Head>()
  const anew = seal(
    'billing',
    links.map((it) => ({
      trail: it.trail,
      fields: it.position === 4 ? { ...it.fields, reason: 'nobody asked' } : it.fields,
    })),
    heads,
  )
  for (const { fields, hash, entryHash } of anew) {
    await sql.query(
      `UPDATE audit_trail SET reason = $2, hash = decode($3, 'hex'), entry_hash = decode($4, 'hex')
       WHERE id = $1::uuid`,
      [fields.id, fields.reason, hash, entryHash],
    )
  }
  await setHeads(sql)
}

async function setHeads(sql: Sql): Promise<void> {
  await sql.query('DELETE FROM audit_heads')
  const heads = new Map<string, Head>()
  for (const it of await readLinks(sql, 'billing', 0, 100)) {
    heads.set(WHOLE, it)
    heads.set(it.trail, { position: it.trailPosition, hash: it.entryHash })
  }
  for (const [name, { position, hash }] of heads) {
    await sql.query(
      `INSERT INTO audit_heads VALUES ('billing', $1, $2::bigint, decode($3, 'hex'))`,
      [name, position, hash],
    )
  }
}
