import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { createActor } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { openDatabase, type SqlDatabase } from '@berth/platform/database'
import { newId } from '@berth/platform/ids'
import { readManifests } from '@berth/platform/run/manifests'
import { PrismaClient } from '@berth/prisma/inventory'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { auditViolations } from './invariants.ts'
import { openTestPlatform, type TestPlatform } from './test-platform.ts'

const ROOT = path.join(import.meta.dirname, '../..')
const services = readManifests(ROOT).filter(({ name }) =>
  ['issuer', 'policy', 'inventory'].includes(name),
)

let berth: TestPlatform
let inventory: SqlDatabase
beforeAll(async () => {
  berth = await openTestPlatform({ policy: 2, inventory: 2 }, { services })
  inventory = openDatabase({
    url: String(berth.platform.env('inventory').DATABASE_URL),
    schema: 'inventory',
    client: (adapter) => new PrismaClient({ adapter }),
  })
})
afterAll(async () => {
  await inventory?.close()
  await berth?.stop()
})

const actor = createActor({ kind: 'person', subject: newId('usr') })

/** Changes that are audited, one after another until it is told to stop. */
function writer() {
  let isStopped = false
  let written = 0
  const writing = (async () => {
    while (!isStopped) {
      await inventory.sqlTransaction((sql) =>
        appendAudit(sql, {
          organizationId: null,
          actor,
          action: 'node.cordon',
          target: newId('nod'),
        }),
      )
      written += 1
    }
  })()
  return {
    get written() {
      return written
    },
    stop: () => {
      isStopped = true
      return writing
    },
  }
}

test('whoever is killed, all that was audited is sealed once, and the seal holds', async () => {
  const writers = [writer(), writer()]
  for (const name of ['policy', 'inventory', 'policy-2', 'inventory-2', 'policy', 'inventory']) {
    const before = writers.map((it) => it.written)
    await vi.waitFor(
      () => {
        for (const [n, it] of writers.entries()) {
          expect(it.written).toBeGreaterThan((before[n] ?? 0) + 20)
        }
      },
      { timeout: 60_000 },
    )
    berth.platform.kill(name, 'SIGKILL')
    if (name.startsWith('policy')) berth.platform.kill('policy-2', 'SIGKILL')
    await berth.platform.up(name)
  }
  await Promise.all(writers.map((it) => it.stop()))
  for (const domain of ['inventory', 'policy']) {
    await vi.waitFor(async () => expect(await auditViolations(berth.sql, domain)).toEqual([]), {
      timeout: 60_000,
      interval: 200,
    })
  }
  const total = writers.reduce((sum, it) => sum + it.written, 0)
  expect(await verify()).toMatch(new RegExp(`inventory: ${total} entries, .*, whole`))
})

/** What `npm run audit:verify` says; fails unless all is whole. */
async function verify(): Promise<string> {
  const { DATABASE_URL, BERTH_KEYS_DIR } = berth.platform.env('policy')
  const env = { ...process.env, POLICY_DATABASE_URL: DATABASE_URL, BERTH_KEYS_DIR }
  const main = path.join(ROOT, 'subgraphs/policy/src/audit-tool/main.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'verify'], { env })
  return stdout
}
