import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort, type Processes } from '../processes.ts'
import { createTokens, type Tokens } from '../tokens.ts'
import { type Addresses, SERVICES } from './graph.ts'
import { operations } from './operations.ts'
import { composeSupergraph } from './supergraph.ts'

/** What all contestants stand on: the same subgraphs, files and people. */
export type World = Disposable & {
  readonly addresses: Addresses
  readonly supergraphFile: string
  /** Trusted documents, as our gateway takes them: an Apollo persisted query manifest. */
  readonly manifestFile: string
  readonly tokens: Tokens
  readonly operationTexts: Readonly<Record<string, string>>
}

/** The processor of the load and the subgraphs. */
export const LOAD_CORE = 1

export async function createWorld(processes: Processes): Promise<World> {
  const [catalog = 0, supply = 0, reviews = 0, issuerPort = 0] = await Promise.all(
    [...SERVICES, 'issuer'].map(freePort),
  )
  const addresses = { catalog: at(catalog), supply: at(supply), reviews: at(reviews) }
  const tokens = await createTokens(`http://127.0.0.1:${issuerPort}`)
  await processes.start({
    name: 'subgraphs',
    core: LOAD_CORE,
    args: [
      path.join(import.meta.dirname, 'subgraphs.ts'),
      ...[catalog, supply, reviews, issuerPort].map(String),
      tokens.jwks,
    ],
  })
  const folder = mkdtempSync(path.join(os.tmpdir(), 'berth-bench-'))
  process.once('exit', remove) // Also when it is stopped half-way.
  const supergraphFile = path.join(folder, 'supergraph.graphql')
  const manifestFile = path.join(folder, 'trusted-documents.json')
  writeFileSync(supergraphFile, composeSupergraph(addresses))
  writeFileSync(manifestFile, JSON.stringify(manifest()))
  return {
    addresses,
    supergraphFile,
    manifestFile,
    tokens,
    operationTexts: Object.fromEntries(operations.map(({ name, text }) => [name, text])),
    [Symbol.dispose]: remove,
  }

  function remove(): void {
    rmSync(folder, { recursive: true, force: true })
  }
}

function at(port: number): string {
  return `http://127.0.0.1:${port}/graphql`
}

function manifest() {
  return {
    format: 'apollo-persisted-query-manifest',
    version: 1,
    operations: operations.map(({ hash, text }) => ({
      id: hash,
      name: /query (\w+)/.exec(text)?.[1],
      type: 'query',
      body: text,
    })),
  }
}
