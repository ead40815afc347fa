import { existsSync } from 'node:fs'
import path from 'node:path'
import { assertFree, freeBasePort } from '../servers/ports.ts'
import { SetupError } from '../servers/setup-error.ts'
import { type Kind, SERVER_PORTS } from '../servers/start-servers.ts'
import type { Instance } from './environment.ts'
import type { Service } from './manifests.ts'

/** Offset of the first port for replicas beyond the first. */
const REPLICA_PORTS = 50

export type Plan = {
  readonly basePort: number
  readonly instances: readonly Instance[]
  /** By instance, and by server that is started here. */
  readonly ports: Readonly<Record<string, number>>
}

/**
 * Which process listens where. Every port is free when this answers.
 *
 * @param basePort 0 for any free range
 * @throws {SetupError} naming a port that is taken, and by whom
 */
export async function planPlatform({
  services,
  development,
  replicas,
  basePort,
  external,
}: {
  services: readonly Service[]
  development: boolean
  replicas: Readonly<Record<string, number>>
  basePort: number
  external: Partial<Record<Kind, string>>
}): Promise<Plan> {
  const chosen = services.filter((service) => development || !service.development)
  for (const { name, directory, main } of chosen)
    if (!existsSync(path.join(directory, main)))
      throw new SetupError(`${name} cannot start: ${path.join(directory, main)} is missing`)
  let next = REPLICA_PORTS
  const placed = chosen.flatMap((service) =>
    Array.from({ length: replicas[service.name] ?? 1 }, (_, index) => ({
      service,
      name: index === 0 ? service.name : `${service.name}-${index + 1}`,
      id: `${service.name}-${index + 1}`,
      offset: index === 0 ? service.port : next++,
    })),
  )
  const servers = Object.entries(SERVER_PORTS).filter(([kind]) => !external[kind as Kind])
  const offsets = [...placed.map(({ offset }) => offset), ...servers.map(([, offset]) => offset)]
  const base = basePort || (await freeBasePort(offsets))
  await assertFree(offsets.map((offset) => base + offset))
  const instances = placed.map(({ offset, ...instance }) => ({ ...instance, port: base + offset }))
  const ports = [
    ...instances.map(({ name, port }) => [name, port]),
    ...servers.map(([kind, offset]) => [kind, base + offset]),
  ]
  return { basePort: base, instances, ports: Object.fromEntries(ports) }
}
