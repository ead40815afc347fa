import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { SetupError } from '../servers/setup-error.ts'

/** A service as its workspace's package.json declares it under `berth.services`. */
export type Service = z.output<typeof Manifest> & {
  /** Of its workspace. */
  readonly directory: string
}

const Manifest = z.strictObject({
  name: z.string().regex(/^[a-z][a-z-]*$/),
  /** Entry point, relative to the workspace. */
  main: z.string(),
  /** Offset from the base port. */
  port: z.int().min(0).max(39),
  /** The domain whose schema it owns. */
  domain: z.string().optional(),
  /** Run after the migrations, in development only; must bear repetition. */
  seed: z.string().optional(),
  ready: z.enum(['http', 'tcp']),
  /** Services that must be ready before this one starts. */
  after: z.array(z.string()).default([]),
  /** Stands in for something that production has elsewhere. */
  development: z.boolean().default(false),
})

/**
 * Every service of the repository.
 *
 * @throws {SetupError} naming the manifest that is wrong
 */
export function readManifests(root: string): Service[] {
  const services = workspaces(root).flatMap((directory) => {
    const { berth } = readJson(path.join(directory, 'package.json')) as { berth?: unknown }
    const parsed = z.object({ services: z.array(Manifest) }).safeParse(berth ?? { services: [] })
    if (parsed.success) return parsed.data.services.map((service) => ({ ...service, directory }))
    throw new SetupError(
      `${path.relative(root, directory)}/package.json: berth.services: ${z.prettifyError(parsed.error)}`,
    )
  })
  assertConsistent(services)
  return services
}

function assertConsistent(services: readonly Service[]): void {
  for (const { name, port, after } of services) {
    const twin = services.find((other) => other.name !== name && other.port === port)
    if (twin) throw new SetupError(`Services ${name} and ${twin.name} both declare port ${port}`)
    if (services.filter((other) => other.name === name).length > 1)
      throw new SetupError(`Two services are called ${name}`)
    const unknown = after.find((other) => !services.some((service) => service.name === other))
    if (unknown) throw new SetupError(`${name} waits for ${unknown}, which is not a service`)
  }
  const started = new Set<string>()
  for (let before = -1; before < started.size; ) {
    before = started.size
    for (const { name, after } of services)
      if (after.every((other) => started.has(other))) started.add(name)
  }
  const stuck = services.filter(({ name }) => !started.has(name)).map(({ name }) => name)
  if (stuck.length) throw new SetupError(`Services wait for each other: ${stuck.join(', ')}`)
}

function workspaces(root: string): string[] {
  const { workspaces } = readJson(path.join(root, 'package.json')) as { workspaces: string[] }
  return workspaces
    .flatMap((pattern) => {
      if (!pattern.endsWith('/*')) return [path.join(root, pattern)]
      const parent = path.join(root, pattern.slice(0, -2))
      return existsSync(parent)
        ? readdirSync(parent)
            .sort()
            .map((name) => path.join(parent, name))
        : []
    })
    .filter((directory) => existsSync(path.join(directory, 'package.json')))
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'))
}
