import { serviceActor } from '@berth/platform/actor'
import { loadConfig, subgraphConfig } from '@berth/platform/config'
import type { Sql } from '@berth/platform/database'
import { deriveUuid, type Id, uuidToId } from '@berth/platform/ids'
import { z } from 'zod'
import { openPolicyDatabase } from './database.ts'
import { createOrganization } from './service/create-organization.ts'
import { createDirectoryWrites } from './store/directory.ts'

const people = [
  { subject: 'user', name: 'User' },
  { subject: 'admin', name: 'Admin' },
  { subject: 'operator', name: 'Operator', platformRole: 'operator' },
] as const

const organizations = [
  { name: 'Development', members: { admin: 'OWNER', user: 'MEMBER' } },
  { name: 'Operations', members: { operator: 'OWNER' } },
] as const

/**
 * The people and organizations of a development installation, known by the development issuer's
 * subjects. Run again, it adds what is missing and changes nothing.
 */
export async function seed(sql: Sql, issuer: string): Promise<void> {
  const writes = createDirectoryWrites(sql)
  for (const person of people) {
    const id = seedId('usr', person.subject)
    await writes.addUser({ id, name: person.name })
    await writes.linkIdentity(id, issuer, person.subject)
    if ('platformRole' in person) await writes.addPlatformRole(id, person.platformRole)
  }
  for (const { name, members } of organizations) {
    await createOrganization(sql, serviceActor('policy'), {
      id: seedId('org', name),
      name,
      members: Object.entries(members).map(([subject, role]) => ({
        id: seedId('mem', `${name}/${subject}`),
        userId: seedId('usr', subject),
        role,
      })),
    })
  }
}

/** The same at every run, so that what was seeded is found again. */
export function seedId<P extends string>(prefix: P, name: string): Id<P> {
  return uuidToId(prefix, deriveUuid(new Date('2026-01-01'), `development/${prefix}/${name}`))
}

async function main(): Promise<void> {
  const config = loadConfig({
    ...subgraphConfig,
    BERTH_ENV: z.enum(['development', 'test'], 'there are no development people in production'),
    OIDC_ISSUER: z.url(),
  })
  const database = openPolicyDatabase(config.DATABASE_URL)
  try {
    await database.sqlTransaction((sql) => seed(sql, config.OIDC_ISSUER))
  } finally {
    await database.close()
  }
}

if (import.meta.main) await main()
