import { execFile } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { migrateDomain, migrationsOf } from '@berth/prisma/migrate'
import { SetupError } from '../servers/setup-error.ts'
import type { DomainUrls } from './database.ts'
import type { Instance } from './environment.ts'

const run = promisify(execFile)
const ROOT = path.join(import.meta.dirname, '../../..')
const SEED_TIMEOUT_MS = 60_000

/** Generates the database clients whose schema changed. @throws {SetupError} with Prisma's reason */
export async function generateClients(): Promise<void> {
  const directory = path.join(ROOT, 'prisma')
  await run(process.execPath, ['generate.ts'], { cwd: directory }).catch((error) => {
    throw new SetupError(`Prisma could not generate its clients: ${lastLine(error)}`)
  })
}

/**
 * Brings every domain's schema up to date, as its owner.
 *
 * @returns how many migrations were applied
 * @throws {SetupError} naming the migration that failed
 */
export async function migrateAll(databases: Record<string, DomainUrls>): Promise<number> {
  const results = await Promise.allSettled(
    Object.entries(databases).map(([schema, { owner }]) =>
      migrateDomain({ url: owner, schema, dir: migrationsOf(schema) }),
    ),
  )
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw new SetupError((failed.reason as Error).message, { cause: failed.reason })
  return results.flatMap((result) => (result.status === 'fulfilled' ? result.value : [])).length
}

/**
 * Runs the seeds of the services that have one, with the service's own environment.
 *
 * @throws {SetupError} with the seed's last words
 */
export async function seedAll(
  instances: readonly Instance[],
  environmentOf: (instance: Instance) => NodeJS.ProcessEnv,
  log: string,
): Promise<void> {
  mkdirSync(log, { recursive: true })
  const first = instances.filter(({ service, name }) => service.name === name)
  await Promise.all(
    first.map(async (instance) => {
      const { service } = instance
      const file = service.seed && path.join(service.directory, service.seed)
      if (!file || !existsSync(file)) return
      const at = path.join(log, `${service.name}-seed.log`)
      const options = { cwd: service.directory, timeout: SEED_TIMEOUT_MS }
      try {
        const env = environmentOf(instance)
        const { stdout, stderr } = await run(process.execPath, [file], { ...options, env })
        appendFileSync(at, stdout + stderr)
      } catch (error) {
        const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
        appendFileSync(at, stdout + stderr)
        throw new SetupError(`The seed of ${service.name} failed: ${lastLine(error)} (log: ${at})`)
      }
    }),
  )
}

/** The line of a failed program's output that tells most. */
function lastLine(error: unknown): string {
  const {
    stdout = '',
    stderr = '',
    message,
  } = error as {
    stdout?: string
    stderr?: string
    message: string
  }
  const lines = `${stdout}\n${stderr}`.split('\n').map((line) => line.trim())
  return lines.findLast((line) => /error/i.test(line)) ?? message.split('\n')[0] ?? message
}
