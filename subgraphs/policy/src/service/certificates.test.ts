import { randomBytes } from 'node:crypto'
import { createActor } from '@berth/platform/actor'
import { fakeClock } from '@berth/platform/clock'
import { createEnvelope } from '@berth/platform/envelope'
import { newId } from '@berth/platform/ids'
import { localFileKek } from '@berth/platform/kek'
import { createLog } from '@berth/platform/log'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { testDatabase } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { openPolicyDatabase, type PolicyDatabase } from '../database.ts'
import { type Certificates, createCertificates, type SignRequest } from './certificates.ts'

const scope = new AsyncDisposableStack()
const clock = fakeClock('2026-05-01T12:00:00.500Z')
const actor = createActor({ kind: 'person', subject: newId('usr') })
const lines: string[] = []
const keys = { 'kek-1': randomBytes(32) }
let database: PolicyDatabase
let certificates: Certificates

function createWith(where: PolicyDatabase): Certificates {
  return createCertificates({
    database: where,
    envelope: createEnvelope(localFileKek({ current: 'kek-1', keys })),
    clock,
    log: createLog({
      service: 'policy',
      instance: 'policy-1',
      level: 'trace',
      destination: { write: (line) => void lines.push(line) },
    }),
  })
}

beforeAll(async () => {
  const { appUrl } = scope.use(await testDatabase('policy'))
  database = scope.adopt(openPolicyDatabase(appUrl), (it) => it.close())
  certificates = createWith(database)
  await Promise.all(Array.from({ length: 8 }, () => certificates.ensureAuthorities()))
})
afterAll(() => scope.disposeAsync())

let request: SignRequest
beforeEach(() => {
  request = {
    authority: 'user',
    publicKey: newSshKeyPair().publicKey,
    principal: `${newId('alc')}@node-1`,
    organizationId: newId('org'),
    ttlSeconds: 120,
  }
})

const by = () => ({ actor, caller: 'terminal', commandId: newId('cmd') })
const bytesOf = (line: string) => Buffer.from(line.split(' ')[1] ?? '', 'base64')

async function audited(action: string, target: string): Promise<number> {
  const rows = await database.sql.query(
    'SELECT 1 FROM audit_events WHERE action = $1 AND target = $2',
    [action, target],
  )
  return rows.length
}

test('of eight first starts at once, one makes the keys', async () => {
  const keys = await certificates.authorityKeys()
  expect(keys.user).not.toBe(keys.node)
  expect(await audited('ssh-authority.create', 'user')).toBe(1)
  expect(await audited('ssh-authority.create', 'node')).toBe(1)
})

test('a private key is neither at rest nor in the log', async () => {
  const rows = await database.sql.query<{ private_key_enc: string }>(
    'SELECT * FROM ssh_authorities',
  )
  expect(rows.map(({ private_key_enc }) => private_key_enc.slice(0, 9))).toEqual([
    'v1.kek-1.',
    'v1.kek-1.',
  ])
  const written = [JSON.stringify(rows), ...lines].join('\n')
  expect(written).not.toContain('PRIVATE KEY')
  expect(lines.length).toBeGreaterThan(0)
})

test('a certificate names one principal, and is signed by the authority asked for', async () => {
  const keys = await certificates.authorityKeys()
  const { certificate, expiresAt } = await certificates.sign(request, by())
  const bytes = bytesOf(certificate)
  expect(expiresAt).toBe('2026-05-01T12:02:00.000Z')
  expect(bytes.includes(request.principal)).toBe(true)
  expect(bytes.includes('permit-pty')).toBe(true)
  expect(bytes.includes('port-forwarding')).toBe(false)
  expect(bytes.includes(bytesOf(keys.user))).toBe(true)
  expect(bytes.includes(bytesOf(keys.node))).toBe(false)
  expect(await audited('ssh-certificate.sign', request.principal)).toBe(1)
})

test('a command that is repeated gets the same certificate, and one line in the audit', async () => {
  const once = by()
  const first = await certificates.sign(request, once)
  clock.advance(30)
  expect(await certificates.sign(request, once)).toEqual(first)
  expect(await audited('ssh-certificate.sign', request.principal)).toBe(1)
  await expect(
    certificates.sign({ ...request, principal: `${newId('alc')}@node-1` }, once),
  ).rejects.toMatchObject({ code: 'IDEMPOTENCY_MISMATCH' })
})

test('of twenty calls of one command at once, none gets another certificate', async () => {
  const once = by()
  const calls = await Promise.allSettled(
    Array.from({ length: 20 }, () => certificates.sign(request, once)),
  )
  const signed = calls.flatMap((it) => (it.status === 'fulfilled' ? [it.value.certificate] : []))
  const refused = calls.flatMap((it) => (it.status === 'rejected' ? [it.reason.code] : []))
  expect(new Set(signed).size).toBe(1)
  expect(new Set(refused).isSubsetOf(new Set(['IDEMPOTENCY_IN_FLIGHT']))).toBe(true)
  expect(await audited('ssh-certificate.sign', request.principal)).toBe(1)
})

test.each([
  'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==',
  'ecdsa-sha2-nistp256 AAAA',
  'ssh-ed25519 AAAA',
  'command="id" ssh-ed25519 AAAA',
  '',
])('the key %j is refused', async (publicKey) => {
  await expect(certificates.sign({ ...request, publicKey }, by())).rejects.toMatchObject({
    code: 'BAD_INPUT',
  })
})

test('a sealed key signs nothing in the other authority’s place; the service itself moves none', async () => {
  const { appUrl, ownerUrl } = scope.use(await testDatabase('policy'))
  const swapped = scope.adopt(openPolicyDatabase(appUrl), (it) => it.close())
  const owner = scope.adopt(openPolicyDatabase(ownerUrl), (it) => it.close())
  const rows = await database.sql.query<{
    name: string
    public_key: string
    private_key_enc: string
  }>('SELECT name, public_key, private_key_enc FROM ssh_authorities')
  for (const { name, public_key, private_key_enc } of rows) {
    const other = name === 'user' ? 'node' : 'user'
    await owner.sql.query('INSERT INTO ssh_authorities VALUES ($1, $2, $3)', [
      other,
      public_key,
      private_key_enc,
    ])
  }
  await expect(createWith(swapped).sign(request, by())).rejects.toMatchObject({
    name: 'EnvelopeError',
    reason: 'REFUSED',
  })
  expect(await swapped.sql.query('SELECT 1 FROM audit_events')).toEqual([])
  await expect(
    swapped.sql.query(`UPDATE ssh_authorities SET private_key_enc = ''`),
  ).rejects.toThrow('permission denied')
})
