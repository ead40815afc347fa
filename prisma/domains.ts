import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'

const ROOT = import.meta.dirname

/** Every folder here with a `schema.prisma` is a domain: its name is its Postgres schema's. */
export const domains: readonly string[] = readdirSync(ROOT)
  .filter((name) => existsSync(path.join(ROOT, name, 'schema.prisma')))
  .sort()

/** Where a domain's migrations are. */
export function migrationsOf(domain: string): string {
  return path.join(ROOT, domain, 'migrations')
}
