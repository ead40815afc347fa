import { createHash } from 'node:crypto'
import { userInfo } from 'node:os'
import path from 'node:path'

/** Where Berth keeps what survives a restart, and the server programs it obtained. */
export type Home = {
  /** One directory per base port; outlives upgrades. */
  readonly state: string
  /** Programs and locks; can be deleted while nothing runs. */
  readonly servers: string
}

/**
 * Directories of this user: `BERTH_HOME` if named, `/var/lib/berth` for root (where servers that
 * gave up root's rights can reach it), else the XDG directories.
 */
export function berthHome(env: NodeJS.ProcessEnv = process.env): Home {
  if (env.BERTH_HOME) {
    const home = path.resolve(env.BERTH_HOME)
    return { state: home, servers: path.join(home, 'servers') }
  }
  if (process.getuid?.() === 0)
    return { state: '/var/lib/berth', servers: '/var/lib/berth/servers' }
  // An unset or empty HOME is common in containers and cron; the account database still knows.
  const user = env.HOME || userInfo().homedir
  return {
    state: path.join(env.XDG_STATE_HOME || path.join(user, '.local/state'), 'berth'),
    servers: path.join(env.XDG_CACHE_HOME || path.join(user, '.cache'), 'berth/servers'),
  }
}

/** State of the test servers of one checkout: two clones on a machine never share databases. */
export function testHome(checkout: string, env: NodeJS.ProcessEnv = process.env): string {
  const key = createHash('sha256').update(checkout).digest('hex').slice(0, 12)
  return path.join(berthHome(env).state, `test-${key}`)
}
