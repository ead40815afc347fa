import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import path from 'node:path'
import { AUDIENCE } from './issuer.ts'
import type { SubgraphName } from './subgraphs.ts'

export type ServiceProcess = AsyncDisposable & {
  readonly url: string
  /** Starts it, on the same port each time, and resolves when it serves. */
  start(): Promise<void>
  /** SIGKILL: nothing is closed, drained or told. */
  kill(): Promise<void>
}

type Environment = { keysDir: string; redisUrl: string }

/** A test subgraph in a process of its own. */
export function subgraphProcess(name: SubgraphName, of: Environment): Promise<ServiceProcess> {
  return serviceProcess(path.join(import.meta.dirname, 'main.ts'), name, of, {})
}

/** The gateway in a process of its own, as it runs everywhere. */
export function gatewayProcess(
  of: Environment & { issuer: { url: string }; peers: Record<string, string[]> },
): Promise<ServiceProcess> {
  return serviceProcess(path.join(import.meta.dirname, '../src/main.ts'), 'gateway', of, {
    BERTH_PEERS: JSON.stringify(of.peers),
    OIDC_ISSUER: of.issuer.url,
    OIDC_AUDIENCE: AUDIENCE,
  })
}

async function serviceProcess(
  main: string,
  name: string,
  { keysDir, redisUrl }: Environment,
  env: Record<string, string>,
): Promise<ServiceProcess> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  let child: ChildProcess | undefined

  async function kill(): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  return {
    url,
    kill,
    [Symbol.asyncDispose]: kill,
    async start() {
      child = spawn(process.execPath, [main], {
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        env: {
          BERTH_SERVICE: name,
          BERTH_INSTANCE: `${name}-1`,
          BERTH_ENV: 'test',
          PORT: String(port),
          REDIS_URL: redisUrl,
          NATS_URL: 'nats://127.0.0.1:1',
          BERTH_KEYS_DIR: keysDir,
          ...env,
        },
      })
      process.once('exit', () => child?.kill('SIGKILL'))
      await untilServing(url, child)
    },
  }
}

async function untilServing(url: string, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const response = await fetch(`${url}/readyz`).catch(() => null)
    if (response?.ok) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error(`the service ended with ${child.exitCode}`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
