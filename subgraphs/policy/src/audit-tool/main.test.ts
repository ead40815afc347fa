import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { ACTOR_HEADER } from '@berth/platform/assertion'
import { until } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Policy } from '../test-organization.ts'
import { actors, startPolicy } from '../test-policy.ts'
import { downloadExport } from './download.ts'

const run = promisify(execFile)
const scope = new AsyncDisposableStack()
const directory = mkdtempSync(path.join(os.tmpdir(), 'berth-audit-'))
scope.defer(() => rmSync(directory, { recursive: true }))
let policy: Policy
let keys: string
beforeAll(async () => {
  policy = await startPolicy(scope)
  keys = path.join(policy.config.BERTH_KEYS_DIR, 'services.jwks.json')
  // The development people and their organizations are audited.
  await until(async () => {
    expect(await policy.database.sql.query('SELECT FROM audit_relay')).toEqual([])
  })
  await policy.auditTrail.checkpointAll()
})
afterAll(() => scope.disposeAsync())

/** @returns the code it ends with, and what it says */
async function tool(...args: string[]): Promise<[number, string]> {
  const env = {
    ...process.env,
    POLICY_DATABASE_URL: policy.config.DATABASE_URL,
    BERTH_KEYS_DIR: policy.config.BERTH_KEYS_DIR,
    BERTH_TOKEN: '',
  }
  const main = path.join(import.meta.dirname, 'main.ts')
  return run(process.execPath, [main, ...args], { env }).then(
    ({ stdout }) => [0, stdout],
    (error: { code: number; stdout: string; stderr: string }) => [
      error.code,
      error.stdout + error.stderr,
    ],
  )
}

test('an export is checked from its file, and serves as a witness against the database', async () => {
  const headers = { [ACTOR_HEADER]: await policy.assertionOf(actors.admin) }
  const { ndjson } = await downloadExport({ endpoint: `${policy.url}/graphql`, headers })
  const file = path.join(directory, 'audit.ndjson')
  writeFileSync(file, ndjson)
  expect(await tool('verify', '--file', file, '--keys', keys)).toEqual([
    0,
    '3 entries, 1 checkpoints, whole\n',
  ])
  const broken = path.join(directory, 'broken.ndjson')
  writeFileSync(broken, ndjson.replace('membership.add', 'membership.bad'))
  const [code, said] = await tool('verify', '--file', broken, '--keys', keys)
  expect([code, said]).toEqual([1, expect.stringMatching(/BROKEN in 1 places\n.* was changed\n$/)])
  expect(await tool('verify', '--known', file)).toEqual([
    0,
    expect.stringMatching(/^policy: \d+ entries, signed up to \d+, whole\n$/),
  ])
})

test('what it cannot do it says, and ends with another code', async () => {
  expect(await tool('export')).toEqual([2, expect.stringContaining('BERTH_TOKEN')])
  expect(await tool('verify', '--file', 'x')).toEqual([2, expect.stringContaining('--keys')])
  expect(await tool()).toEqual([2, 'Say verify or export\n'])
  await expect(downloadExport({ endpoint: `${policy.url}/graphql`, headers: {} })).rejects.toThrow()
})

test('a broken trail is told of by place, and fails', async () => {
  await policy.owner.sql.query('ALTER TABLE audit_trail DISABLE TRIGGER USER')
  await policy.owner.sql.query(`UPDATE audit_trail SET target = 'somebody else' WHERE position = 2`)
  const [code, said] = await tool('verify')
  expect(code).toBe(1)
  expect(said).toMatch(/BROKEN in 1 places\n {2}policy platform 2: entry .* was changed/)
})
