import type { ReadinessChecks } from '@berth/platform/health'
import type { Peers } from '@berth/platform/peers'

const TIMEOUT_MS = 1_500

/**
 * A check for each of these services: ready when one of its replicas says so. The gateway is the
 * platform's face, and so it is ready when the whole platform is.
 */
export function peersReady(
  peers: Pick<Peers, 'pool'>,
  services: readonly string[],
): ReadinessChecks {
  return Object.fromEntries(
    services.map((service) => [service, () => anyReady(service, peers.pool(service).urls)]),
  )
}

async function anyReady(service: string, urls: readonly string[]): Promise<void> {
  try {
    await Promise.any(urls.map(checkReady))
  } catch (cause) {
    throw new Error(`no replica of ${service} is ready`, { cause })
  }
}

async function checkReady(url: string): Promise<void> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS) })
  await response.body?.cancel()
  if (!response.ok) throw new Error(`/readyz answered ${response.status}`)
}
