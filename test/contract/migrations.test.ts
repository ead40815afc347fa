import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { acquireTestServers } from '@berth/platform/servers/test-servers'
import { testDatabases } from '@berth/platform/test-kit/index'
import { domains } from '@berth/prisma/migrate'
import { afterAll, expect, test } from 'vitest'

const run = promisify(execFile)
const prisma = path.join(import.meta.dirname, '../../prisma')
const database = await testDatabases()
afterAll(() => database.drop())

test.each(domains)('the models and the migrations of %s say the same', async (domain) => {
  const { postgresAdminUrl } = await acquireTestServers()
  const url = new URL(postgresAdminUrl)
  url.pathname = new URL(database.adminUrl).pathname
  const { stdout } = await run(
    'prisma',
    [
      'migrate',
      'diff',
      '--from-config-datasource',
      '--to-schema',
      `${domain}/schema.prisma`,
      '--exit-code',
    ],
    { cwd: prisma, env: { ...process.env, PRISMA_DOMAIN: domain, DATABASE_URL: url.href } },
  ).catch((error: { stdout: string; stderr: string }) => {
    throw new Error(`${error.stdout}${error.stderr}`)
  })
  expect(stdout).toContain('No difference')
})
