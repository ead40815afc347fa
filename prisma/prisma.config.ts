import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { defineConfig } from 'prisma/config'
import { domains } from './domains.ts'

/** Prisma's command line works on one domain at a time: the one named in PRISMA_DOMAIN. */
const domain = process.env.PRISMA_DOMAIN ?? ''
if (!domains.includes(domain))
  throw new Error(`Set PRISMA_DOMAIN to the domain to work on: ${domains.join(', ')}`)

const ROOT = import.meta.dirname

// Prisma's native schema engine is a download of its own, which an offline machine cannot make.
if (!process.env.PRISMA_SCHEMA_ENGINE_BINARY && !hasNativeEngine()) {
  process.env.PRISMA_SCHEMA_ENGINE_BINARY = path.join(ROOT, 'engine/schema-engine.ts')
  // Its first line asks for `node`: the one of this project, which runs TypeScript.
  process.env.PATH = [path.dirname(process.execPath), process.env.PATH].join(path.delimiter)
}

const url = process.env.DATABASE_URL ? new URL(process.env.DATABASE_URL) : undefined
url?.searchParams.set('schema', domain)

export default defineConfig({
  schema: path.join(ROOT, domain, 'schema.prisma'),
  migrations: { path: path.join(ROOT, domain, 'migrations') },
  // Partitioned partitions: Prisma leaves out the plain ones by itself, and takes these for tables.
  experimental: { externalTables: true },
  tables: {
    external: ['notifications.notifications_long', 'notifications.notifications_standard'],
  },
  ...(url ? { datasource: { url: url.href } } : {}),
})

function hasNativeEngine(): boolean {
  const prisma = createRequire(import.meta.url).resolve('prisma/package.json')
  const engines = createRequire(prisma).resolve('@prisma/engines/package.json')
  return readdirSync(path.dirname(engines)).some((file) => file.startsWith('schema-engine-'))
}
