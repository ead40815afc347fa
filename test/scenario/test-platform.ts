import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Platform, type PlatformOptions, startPlatform } from '@berth/platform/run/platform'
import pg from 'pg'
import { type GraphClient, graphClient } from '../graph-client.ts'
import { signIn } from '../issuer/sign-in.ts'

export type TestPlatform = {
  readonly platform: Platform
  /** @param gateway which replica: `gateway`, `gateway-2` */
  graph(person: 'user' | 'admin' | 'operator' | null, gateway?: string): Promise<GraphClient>
  /** As superuser, over all schemas: to check what must be true. */
  sql<Row>(text: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

/** The whole platform, as `npm start` runs it, on free ports and a state of its own. */
export async function openTestPlatform(
  replicas: Readonly<Record<string, number>> = {},
  options: Pick<PlatformOptions, 'env' | 'services'> = {},
): Promise<TestPlatform> {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'berth-scenario-'))
  chmodSync(stateDir, 0o755) // The servers' own account enters it when this runs as root.
  const platform = await startPlatform({
    ...options,
    stateDir,
    basePort: 0,
    replicas,
    development: true,
    env: { METER_SECONDS: '1', PROBE_SECONDS: '2', LOG_LEVEL: 'info', ...options.env },
  })
  const clients: GraphClient[] = []
  return {
    platform,
    async graph(person, gateway = 'gateway') {
      const token = person && (await signIn(String(platform.urls.issuer), person))
      const client = graphClient(`${platform.urls[gateway]}/graphql`, token)
      clients.push(client)
      return client
    },
    async sql<Row>(text: string, values: unknown[] = []) {
      const url = new URL(String(platform.urls.postgres))
      url.pathname = '/berth'
      const client = new pg.Client({ connectionString: url.href })
      await client.connect()
      try {
        return (await client.query(text, values)).rows as Row[]
      } finally {
        await client.end()
      }
    },
    async stop() {
      await Promise.all(clients.map((it) => it.close()))
      await platform.stop()
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}
