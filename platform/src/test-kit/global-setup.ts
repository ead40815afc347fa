import { acquireTestServers } from '../servers/test-servers.ts'
import { dropAbandoned } from './database.ts'

/** Vitest's global setup: starts the servers, so that no test's time is spent on it. */
export default async function setup(): Promise<void> {
  await acquireTestServers()
  await dropAbandoned()
}
