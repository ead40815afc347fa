import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { answers, freePort, type Processes, type Running } from '../processes.ts'
import { CLASS_HEADER, composeSupergraph, messageOf } from './graph.ts'
import { openReader } from './reader.ts'
import type { Subgraphs } from './subgraphs.ts'

/** Something that tells subscribers of events. */
export type Server = {
  readonly running: Running
  readonly url: string
  readonly isGraph: boolean
  /** Of the person with this number. */
  authorizationOf(index: number): string
  /** Has it send the event to everyone. */
  emit(number: number, note: string): void
  stop(): Promise<void>
}

/** The processor that whatever is measured has to itself. */
const SERVER_CORE = 0

/** Our gateway standing alone; equal class headers are one class of authority. */
export async function startOurs(processes: Processes, subgraphs: Subgraphs): Promise<Server> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'berth-bench-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  const file = path.join(folder, 'supergraph.graphql')
  writeFileSync(file, composeSupergraph(subgraphs.eventsUrl, subgraphs.detailsUrl))
  const { tokens } = subgraphs.tokens
  const port = await freePort()
  const running = await processes.start({
    name: 'ours',
    core: SERVER_CORE,
    args: [
      path.join(import.meta.dirname, '../../../gateway/src/standalone/main.ts'),
      ...['--supergraph', file],
      ...['--port', String(port)],
      ...['--forward-header', CLASS_HEADER],
      '--share-by-headers',
      ...['--jwks', subgraphs.keysUrl],
      ...['--issuer', subgraphs.tokens.issuer],
      ...['--audience', subgraphs.tokens.audience],
      ...['--log-level', 'warn'],
    ],
    whenReady: (signal) => answers(`http://127.0.0.1:${port}/readyz`, signal),
  })
  return {
    running,
    url: `http://127.0.0.1:${port}/graphql`,
    isGraph: true,
    authorizationOf: (index) => `Bearer ${tokens[index % tokens.length]}`,
    emit: (number, note) => subgraphs.emit(number, note),
    async stop() {
      await running.stop()
      remove()
    },
  }
}

/** The same messages, as text that is only broadcast. */
export async function startBare(processes: Processes): Promise<Server> {
  const port = await freePort()
  const running = await processes.start({
    name: 'bare',
    core: SERVER_CORE,
    args: [path.join(import.meta.dirname, 'bare.ts'), String(port)],
  })
  const control = await openReader(`http://127.0.0.1:${port}/control`, {}, '127.0.0.1', () => {})
  return {
    running,
    url: `http://127.0.0.1:${port}/graphql`,
    isGraph: false,
    authorizationOf: () => 'none',
    emit: (number, note) => control.send(messageOf(number, note)),
    stop: () => running.stop(),
  }
}
