import { testDatabases } from '@berth/platform/test-kit/index'
import { domains } from '@berth/prisma/migrate'
import pg from 'pg'
import { afterAll, expect, test } from 'vitest'

const database = await testDatabases()
afterAll(() => database.drop())

const pairs = domains.flatMap((self) =>
  domains.filter((other) => other !== self).map((other) => ({ self, other })),
)

test.each(pairs)('$self cannot read, write or look into $other', async ({ self, other }) => {
  for (const url of [database.appUrl(self), database.ownerUrl(self)]) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      for (const statement of [
        `SELECT * FROM ${other}.outbox`,
        `INSERT INTO ${other}.processed_events (consumer, event_id) VALUES ('x', gen_random_uuid())`,
        `SELECT ${other}.ensure_partitions(1)`,
        `CREATE TABLE ${other}.intruder (id int)`,
      ]) {
        await expect(client.query(statement), statement).rejects.toMatchObject({ code: '42501' })
      }
    } finally {
      await client.end()
    }
  }
})

test.each(domains)(
  'the service of %s can neither change its tables nor its audit trail',
  async (domain) => {
    const client = new pg.Client({ connectionString: database.appUrl(domain) })
    await client.connect()
    try {
      for (const statement of [
        `CREATE TABLE ${domain}.intruder (id int)`,
        `ALTER TABLE ${domain}.outbox ADD COLUMN x int`,
        `UPDATE ${domain}.audit_events SET action = 'x'`,
        `DELETE FROM ${domain}.audit_events`,
        `TRUNCATE ${domain}.outbox`,
      ]) {
        await expect(client.query(statement), statement).rejects.toMatchObject({ code: '42501' })
      }
    } finally {
      await client.end()
    }
  },
)

test('a role reads its own tables: the refusals above are not for want of a table', async () => {
  for (const domain of domains) {
    const client = new pg.Client({ connectionString: database.appUrl(domain) })
    await client.connect()
    await expect(client.query(`SELECT * FROM ${domain}.outbox`)).resolves.toMatchObject({
      rows: [],
    })
    await client.end()
  }
})
