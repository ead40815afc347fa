import path from 'node:path'
import { readJson } from '../servers/json-file.ts'
import { SetupError } from '../servers/setup-error.ts'
import { SERVER_PORTS } from '../servers/start-servers.ts'
import { stateOf, statePlaces } from './state.ts'

/**
 * The way into a domain's database as its service goes, and the keys: `<DOMAIN>_DATABASE_URL` and
 * BERTH_KEYS_DIR, else those of the platform that `npm start` runs.
 *
 * @throws {SetupError} when there is none
 */
export function installationOf(
  domain: string,
  env: NodeJS.ProcessEnv,
): { databaseUrl: string; keysDir: string } {
  const { basePort, stateDir } = stateOf(env)
  const keysDir = env.BERTH_KEYS_DIR || statePlaces(stateDir).keys
  const named = env[`${domain.toUpperCase()}_DATABASE_URL`]
  if (named) return { databaseUrl: named, keysDir }
  const role = `${domain}_app`
  const passwords = readJson<Record<string, string>>(
    path.join(statePlaces(stateDir).keys, 'database.json'),
    'Start the platform once',
  )
  const password = passwords?.[role]
  if (!password) {
    throw new SetupError(
      `No platform has run on ${stateDir}: start it with npm start, or set ${domain.toUpperCase()}_DATABASE_URL and BERTH_KEYS_DIR`,
    )
  }
  const url = new URL(
    env.DATABASE_URL || `postgres://127.0.0.1:${basePort + SERVER_PORTS.postgres}`,
  )
  if (['', '/', '/postgres'].includes(url.pathname)) url.pathname = '/berth'
  url.username = role
  url.password = password
  return { databaseUrl: url.href, keysDir }
}
