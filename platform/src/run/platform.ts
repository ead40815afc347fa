import { rmSync } from 'node:fs'
import path from 'node:path'
import { domains } from '@berth/prisma/migrate'
import { berthHome } from '../servers/home.ts'
import { stopOrphans } from '../servers/process.ts'
import { type Kind, startServers } from '../servers/start-servers.ts'
import { type Supervised, type SupervisionEvent, supervise } from '../servers/supervise.ts'
import { domainUrls } from './database.ts'
import { environmentOf, type Instance, type Surroundings } from './environment.ts'
import { writeKeys } from './keys.ts'
import { readManifests, type Service } from './manifests.ts'
import { planPlatform } from './plan.ts'
import { generateClients, migrateAll, seedAll } from './prepare.ts'
import { serviceProgram } from './service-program.ts'
import { statePlaces, takeState, writeSupervisor } from './state.ts'

export type PlatformOptions = {
  /** Everything that survives a restart; one platform at a time may use it. */
  readonly stateDir: string
  /** First of a hundred ports, or 0 for any range that is free. */
  readonly basePort: number
  /** Processes per service, where not one. */
  readonly replicas?: Readonly<Record<string, number>>
  readonly development: boolean
  readonly onProgress?: (step: string) => void
  /** What ended and was started again, once the platform runs. */
  readonly onEvent?: (event: SupervisionEvent) => void
  /** For every service, over everything else: `{ BERTH_ENV: 'test' }`. */
  readonly env?: NodeJS.ProcessEnv
  /** `false` gives up safety against a power cut for speed: for tests only. */
  readonly durable?: boolean
  /** Gives up starting; what runs by then is stopped. */
  readonly signal?: AbortSignal
  /** Instead of the repository's own. */
  readonly services?: readonly Service[]
}

/** A running platform. Names are those of services (`billing`, `inventory-2`) and servers (`nats`). */
export type Platform = {
  readonly basePort: number
  readonly ports: Readonly<Record<string, number>>
  /** `http://…` of each service, and the URLs of `postgres`, `redis` and `nats`. */
  readonly urls: Readonly<Record<string, string>>
  /** The environment a service runs with. */
  env(name: string): NodeJS.ProcessEnv
  pids(): Record<string, number>
  /** Sends a signal; what ends by it is started again, with backoff. */
  kill(name: string, signal: NodeJS.Signals): void
  /** Ends it by the signal, SIGKILL unless said otherwise, and leaves it down. */
  down(name: string, signal?: NodeJS.Signals): Promise<void>
  /** Starts what is down, or waits until what was killed runs again. */
  up(name: string): Promise<void>
  /** Stops it in good order and starts it. */
  restart(name: string): Promise<void>
  /** Drains the services, those facing outward first, then stops the servers. */
  stop(): Promise<void>
}

const ROOT = path.join(import.meta.dirname, '../../..')

/**
 * Starts everything: servers, databases, keys, services; and keeps it running.
 *
 * @throws {SetupError} with one line that says what to put right; nothing it started runs on then
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { stateDir, development, onProgress = () => {}, onEvent = () => {} } = options
  const failure = new AbortController()
  const signal = AbortSignal.any([failure.signal, options.signal ?? failure.signal])
  const places = statePlaces(stateDir)
  const held = takeState(stateDir)
  const units: Unit[] = []
  const stop = async () => {
    await stopInOrder(units)
    rmSync(places.supervisor, { force: true })
    held.release()
  }
  const abort = () => void stopInOrder(units)
  signal.addEventListener('abort', abort, { once: true })
  try {
    writeSupervisor(stateDir)
    const orphans = await stopOrphans(places.run)
    if (orphans.length) onProgress(`Stopped what an earlier run left: ${orphans.join(', ')}`)
    const services = options.services ?? readManifests(ROOT)
    const external = externalServers(process.env)
    const { replicas = {} } = options
    const plan = await planPlatform({ ...options, services, replicas, external })
    const { basePort, instances, ports } = plan
    writeKeys(places.keys, [...new Set(instances.map(({ service }) => service.name))])

    const clients = generateClients()
    clients.catch(() => {}) // Awaited below; servers may fail first.
    const servers = await startServers({
      home: stateDir,
      servers: berthHome().servers,
      places,
      basePort,
      durable: options.durable ?? true,
      external,
      withSshd: instances.some(({ service }) => service.development),
      onProgress,
      onEvent,
      onUnit: (unit) => units.push({ unit, tier: SERVERS_TIER }),
    })
    await clients
    signal.throwIfAborted()

    const databases = await domainUrls({
      adminUrl: servers.urls.postgres,
      domains,
      passwordFile: path.join(places.keys, 'database.json'),
      env: process.env,
    })
    const applied = await migrateAll(databases)
    onProgress(`Database is current (${applied} migrations applied)`)
    signal.throwIfAborted()

    const around: Surroundings = {
      state: stateDir,
      keys: places.keys,
      instances,
      servers: servers.urls,
      databases,
      development,
      inherited: process.env,
      overrides: options.env ?? {},
    }
    if (development) await seedAll(instances, (one) => environmentOf(one, around), places.log)
    signal.throwIfAborted()

    const supervised = instances.map((instance) => {
      const program = serviceProgram(instance, environmentOf(instance, around))
      return { instance, unit: supervise(program, places, onEvent) }
    })
    for (const { instance, unit } of supervised)
      units.push({ unit, tier: tierOf(instance.service) })
    await startInOrder(supervised, onProgress, signal)
    signal.throwIfAborted()

    const find = (name: string): Supervised => {
      const found = units.find(({ unit }) => unit.name === name)
      if (!found) throw new RangeError(`${name} is neither a service nor a server here`)
      return found.unit
    }
    return {
      basePort,
      ports,
      urls: { ...urlsOf(instances), ...servers.urls },
      env(name) {
        const instance = instances.find((one) => one.name === name)
        return instance ? environmentOf(instance, around) : {}
      },
      pids: () => Object.fromEntries(units.flatMap(({ unit }) => pidOf(unit))),
      kill: (name, how) => find(name).kill(how),
      down: (name, how = 'SIGKILL') => find(name).down(how),
      up: (name) => find(name).start(),
      async restart(name) {
        await find(name).stop()
        await find(name).start()
      },
      stop,
    }
  } catch (error) {
    failure.abort(error)
    await stop()
    throw error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** What stops together; lower tiers stop first. */
type Unit = { readonly unit: Supervised; readonly tier: number }

const SERVERS_TIER = 3

function tierOf({ domain, development }: Service): number {
  if (development) return 2
  return domain ? 1 : 0
}

async function stopInOrder(units: readonly Unit[]): Promise<void> {
  for (let tier = 0; tier <= SERVERS_TIER; tier++)
    await Promise.all(units.filter((one) => one.tier === tier).map(({ unit }) => unit.stop()))
}

/** Each after the services it waits for, and otherwise together; none any more after the signal. */
async function startInOrder(
  supervised: readonly { instance: Instance; unit: Supervised }[],
  onProgress: (step: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const started = new Map<string, Promise<void>>()
  const start = (name: string): Promise<void> => {
    const known = started.get(name) ?? startAll(name)
    started.set(name, known)
    return known
  }
  const startAll = async (name: string) => {
    const own = supervised.filter(({ instance }) => instance.service.name === name)
    await Promise.all((own[0]?.instance.service.after ?? []).map(start))
    signal.throwIfAborted()
    const since = performance.now()
    await Promise.all(own.map(({ unit }) => unit.start()))
    const seconds = ((performance.now() - since) / 1000).toFixed(1)
    const at = own.map(({ instance }) => instance.port).join(', ')
    onProgress(`${name} on 127.0.0.1:${at} (${seconds} s)`)
  }
  await Promise.all(supervised.map(({ instance }) => start(instance.service.name)))
}

function externalServers(env: NodeJS.ProcessEnv): Partial<Record<Kind, string>> {
  const named = { postgres: env.DATABASE_URL, redis: env.REDIS_URL, nats: env.NATS_URL }
  return Object.fromEntries(Object.entries(named).filter(([, url]) => url))
}

function urlsOf(instances: readonly Instance[]): Record<string, string> {
  return Object.fromEntries(instances.map(({ name, port }) => [name, `http://127.0.0.1:${port}`]))
}

function pidOf(unit: Supervised): [string, number][] {
  const pid = unit.pid()
  return pid === undefined ? [] : [[unit.name, pid]]
}
