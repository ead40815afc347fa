import { setTimeout as delay } from 'node:timers/promises'
import { serviceConfig } from '@berth/platform/config'
import type { Service } from '@berth/platform/lifecycle'
import { nodeAccount } from '@berth/platform/servers/account'
import { berthHome } from '@berth/platform/servers/home'
import { findServers } from '@berth/platform/servers/provision'
import { parseSshPublicKey } from '@berth/platform/ssh-certificate'
import { z } from 'zod'
import { type Authorities, givesTerminals, startNode } from './node.ts'

export const nodeConfig = {
  ...serviceConfig,
  /** Where its host key, accounts and homes are kept. */
  BERTH_STATE_DIR: z.string().startsWith('/'),
  /** What certificates name it by. */
  BERTH_NODE_NAME: z.string().default('development'),
}

const REFRESH_MS = 30_000
const PATIENCE_MS = 60_000

/** Starts the node once policy tells whom it must believe, and follows when that changes. */
export async function openNode(
  scope: AsyncDisposableStack,
  { config, log }: Service<typeof nodeConfig>,
): Promise<void> {
  if (config.BERTH_ENV === 'production') throw new Error('this node is for development')
  if (!givesTerminals())
    log.warn(
      '/dev/pts is mounted without gid=5 (tty): an ordinary user’s sshd cannot give terminals',
    )
  const policies = config.BERTH_PEERS.policy ?? []
  const account = nodeAccount()
  const { sshd } = await findServers(['sshd'], { servers: berthHome().servers, account })
  const node = await startNode({
    directory: config.BERTH_STATE_DIR,
    name: config.BERTH_NODE_NAME,
    host: config.HOST,
    port: config.PORT,
    sshd: { path: sshd.file, libraryPath: sshd.env.LD_LIBRARY_PATH },
    account,
    authorities: await fetchPatiently(policies),
  })
  scope.defer(() => node.stop())
  log.info({ port: config.PORT, name: config.BERTH_NODE_NAME }, 'the development node answers')

  // Unhandled on purpose: a node without its sshd ends, and is started anew.
  void node.died.then((error) => {
    throw error
  })
  const refresh = setInterval(() => {
    fetchAuthorities(policies)
      .then((it) => node.trust(it))
      .catch((err: unknown) => {
        log.warn({ err }, 'policy does not tell its SSH authorities: the last ones stay')
      })
  }, REFRESH_MS)
  scope.defer(() => clearInterval(refresh))
}

async function fetchPatiently(policies: readonly string[]): Promise<Authorities> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    try {
      return await fetchAuthorities(policies)
    } catch (cause) {
      if (Date.now() > deadline)
        throw new Error('policy does not tell its SSH authorities', { cause })
      await delay(500)
    }
  }
}

/** Any replica of policy answers. */
async function fetchAuthorities(policies: readonly string[]): Promise<Authorities> {
  return Promise.any(
    policies.map(async (url) => {
      const response = await fetch(`${url}/ssh/authorities`, { signal: AbortSignal.timeout(3_000) })
      if (!response.ok) throw new Error(`${url} answers ${response.status}`)
      return authorities.parse(await response.json())
    }),
  )
}

// Parsed, since they go into files that sshd obeys.
const publicKey = z.string().transform((text) => parseSshPublicKey(text).publicKey)
const authorities = z.object({ user: publicKey, node: publicKey })
