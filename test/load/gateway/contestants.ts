import path from 'node:path'
import { type Client, createClient } from '../load.ts'
import { answers, freePort, type Processes, type Running } from '../processes.ts'
import { contestantsFolder } from './install.ts'
import type { Face } from './operations.ts'
import type { World } from './world.ts'

/** Connections, and so requests at a time, from the load to each contestant. */
export const CONNECTIONS = 32
/** The processor that whatever is measured has to itself. */
export const GATEWAY_CORE = 0

export type Name =
  | 'ours-apollo'
  | 'ours-trusted'
  | 'ours-trusted-dedup'
  | 'stock'
  | 'hive-js'
  | 'hive-js-dedup'
  | 'hive-rust'
  | 'hive-rust-dedup'
  | 'mercurius'
  | 'limit'

export const TITLES: Readonly<Record<Name, string>> = {
  'ours-apollo': 'Berth, Apollo Server',
  'ours-trusted': 'Berth, trusted documents',
  'ours-trusted-dedup': 'Berth, trusted documents, dedup on',
  stock: 'Apollo Gateway',
  'hive-js': 'Hive Gateway',
  'hive-js-dedup': 'Hive Gateway, dedup on',
  'hive-rust': 'Hive Gateway, Rust planner',
  'hive-rust-dedup': 'Hive Gateway, Rust planner, dedup on',
  mercurius: 'Mercurius',
  limit: 'limit, written by hand',
}

/** A contestant that runs. Two may be faces of one process. */
export type Contestant = {
  readonly name: Name
  readonly face: Face
  readonly running: Running
  readonly client: Client
}

/** Starts all that are wanted, each as one process on the gateways' processor. */
export async function startContestants(
  processes: Processes,
  world: World,
  isWanted: (name: Name) => boolean,
): Promise<Contestant[]> {
  const theirs: [Name, string, object][] = [
    ['stock', 'stock.js', {}],
    ['hive-js', 'hive.js', { planner: 'js', dedup: false }],
    ['hive-js-dedup', 'hive.js', { planner: 'js', dedup: true }],
    ['hive-rust', 'hive.js', { planner: 'rust', dedup: false }],
    ['hive-rust-dedup', 'hive.js', { planner: 'rust', dedup: true }],
    ['mercurius', 'mercurius/mercurius.js', {}],
    ['limit', 'limit.js', {}],
  ]
  const started = await Promise.all([
    ...ours(processes, world, isWanted),
    ...theirs
      .filter(([name]) => isWanted(name))
      .map(([name, file, special]) => startTheirs(processes, world, name, file, special)),
  ])
  const order = Object.keys(TITLES)
  return started.flat().sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
}

function* ours(processes: Processes, world: World, isWanted: (name: Name) => boolean) {
  const faces = (['ours-apollo', 'ours-trusted'] as const).filter(isWanted)
  if (faces.length > 0) yield startOurs(processes, world, faces)
  if (isWanted('ours-trusted-dedup')) {
    yield startOurs(processes, world, ['ours-trusted-dedup'], ['--share-by-headers'])
  }
}

/** Our gateway standing alone, as anyone may run it. */
export async function startOurs(
  processes: Processes,
  world: World,
  names: readonly Name[],
  special: readonly string[] = [],
): Promise<Contestant[]> {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const running = await processes.start({
    name: names.join(', '),
    core: GATEWAY_CORE,
    args: [
      path.join(import.meta.dirname, '../../../gateway/src/standalone/main.ts'),
      ...['--supergraph', world.supergraphFile],
      ...['--port', String(port)],
      ...['--trusted-documents', world.manifestFile],
      ...['--jwks', `${world.tokens.issuer}/jwks`],
      ...['--issuer', world.tokens.issuer],
      ...['--audience', world.tokens.audience],
      ...['--forward-header', 'authorization'],
      ...['--log-level', 'warn'],
      ...special,
    ],
    whenReady: (signal) => answers(`${origin}/readyz`, signal),
  })
  return names.map((name) => ({
    name,
    face: name === 'ours-apollo' ? 'text' : 'trusted',
    running,
    client: createClient(`${origin}/graphql`, CONNECTIONS),
  }))
}

async function startTheirs(
  processes: Processes,
  { addresses, supergraphFile, tokens, operationTexts }: World,
  name: Name,
  file: string,
  special: object,
): Promise<Contestant[]> {
  const port = await freePort()
  const { pem, issuer, audience } = tokens
  const configuration = {
    ...{ port, supergraph: supergraphFile, services: addresses, operations: operationTexts },
    ...{ pem, issuer, audience },
    ...special,
  }
  const running = await processes.start({
    name,
    core: GATEWAY_CORE,
    args: [path.join(contestantsFolder, file), JSON.stringify(configuration)],
    environment: { APOLLO_TELEMETRY_DISABLED: 'true' },
  })
  const at = name === 'stock' ? '/' : '/graphql'
  const client = createClient(`http://127.0.0.1:${port}${at}`, CONNECTIONS)
  return [{ name, face: 'text', running, client }]
}
