import { type Dispatcher, Pool } from 'undici'
import { DomainError } from './errors.ts'

export type PeerRequest = {
  path: string
  method: 'GET' | 'POST'
  headers?: Record<string, string>
  /** Whole, so that it can be sent to another replica. */
  body?: string | Buffer
  signal?: AbortSignal
  /**
   * Whether it may be sent again when nobody knows if it arrived; without it only a connection
   * that could not be made moves on to the next replica.
   */
  idempotent?: boolean
}

/** One replica, for a caller that sends by itself. */
export type Replica = {
  /** Keeps its connections for the next request. */
  readonly kept: Dispatcher
  /**
   * Makes a connection for each request: what goes this way meets none that the other side has
   * closed in the meantime.
   */
  readonly fresh: Dispatcher
}

export type PeerPool = {
  /** Base URLs of the replicas, without a trailing slash. */
  readonly urls: readonly string[]
  /** In the order of `urls`. */
  readonly replicas: readonly Replica[]
  /**
   * Asks one replica, the next one each time, and others when it is out of reach.
   *
   * @throws {DomainError} UPSTREAM_UNAVAILABLE when none answers, TIMEOUT when `signal` timed out
   */
  request(request: PeerRequest): Promise<Dispatcher.ResponseData>
}

export type Peers = {
  /** @throws {TypeError} when no address of this service is known: a fault of configuration */
  pool(service: string): PeerPool
  close(): Promise<void>
}

/** Connection pools to the other services, by name. */
export function createPeers(
  addresses: Readonly<Record<string, readonly string[]>>,
  { connections = 64 }: { connections?: number } = {},
): Peers {
  const pools = new Map<string, PeerPool & { close(): Promise<void> }>()
  return {
    pool(service) {
      const urls = Object.hasOwn(addresses, service) ? addresses[service] : undefined
      if (!urls || urls.length === 0) throw new TypeError(`no address of service ${service}`)
      const pool = pools.get(service) ?? createPool(service, urls, connections)
      pools.set(service, pool)
      return pool
    },
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()))
    },
  }
}

function createPool(service: string, addresses: readonly string[], connections: number) {
  const urls = addresses.map((url) => url.replace(/\/+$/, ''))
  const options = { connections, connect: { timeout: 2_000 }, keepAliveTimeout: 4_000 }
  const replicas = urls.map((url) => ({
    kept: new Pool(url, options),
    // undici's way to say that no connection is kept.
    fresh: new Pool(url, { ...options, pipelining: 0 }),
  }))
  let turn = 0

  return {
    urls,
    replicas,
    async request({ idempotent = false, ...request }: PeerRequest) {
      const first = turn++
      let cause: unknown
      for (let i = 0; i < replicas.length; i++) {
        const { kept } = replicas[(first + i) % replicas.length] as Replica
        try {
          return await kept.request(request)
        } catch (error) {
          if (request.signal?.aborted) throw timedOut(service, request.signal, error)
          cause = error
          if (!idempotent && !isConnectError(error)) break
        }
      }
      throw new DomainError('UPSTREAM_UNAVAILABLE', `The service ${service} does not answer`, {
        cause,
      })
    },
    async close() {
      await Promise.all(replicas.flatMap(({ kept, fresh }) => [kept.destroy(), fresh.destroy()]))
    },
  }
}

function timedOut(service: string, signal: AbortSignal, cause: unknown): unknown {
  const { reason } = signal
  if (!(reason instanceof DOMException && reason.name === 'TimeoutError')) return reason
  return new DomainError('TIMEOUT', `The service ${service} took too long`, { cause })
}

/** The request was certainly not sent. */
function isConnectError(error: unknown): boolean {
  const { code } = error as { code?: string }
  return (
    code === 'ECONNREFUSED' ||
    code === 'ENOTFOUND' ||
    code === 'EHOSTUNREACH' ||
    code === 'ENETUNREACH' ||
    code === 'UND_ERR_CONNECT_TIMEOUT'
  )
}
