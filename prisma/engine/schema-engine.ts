#!/usr/bin/env node
/**
 * Stands in for Prisma's native schema engine, which is a download that an offline machine cannot
 * make: the same arguments and the same JSON-RPC over standard input and output, on the WebAssembly
 * engine that Prisma publishes as a package. Named in PRISMA_SCHEMA_ENGINE_BINARY.
 */
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { connectionOf, openEngine, panicMessage } from './wasm-engine.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  strict: false,
  options: {
    datasource: { type: 'string' },
    datamodels: { type: 'string', multiple: true },
    version: { type: 'boolean', short: 'V' },
  },
})
const datasource = JSON.parse((values.datasource as string | undefined) ?? '{}') as {
  url?: string
  shadowDatabaseUrl?: string
}
process.on('uncaughtException', (error) => {
  logError(panicMessage() || error.message)
  process.exit(101) // A panic, to Prisma's command line.
})

if (values.version) console.log('schema-engine-cli wasm')
else if (positionals[0] === 'cli') await runCommand(positionals[1])
else await serve()
process.exit(process.exitCode)

/** `can-connect-to-database`, `create-database` or `drop-database`. */
async function runCommand(command: string | undefined): Promise<void> {
  const { config } = connectionOf(datasource.url ?? '')
  const name = pg.escapeIdentifier(config.database)
  const statements: Record<string, [database: string, sql: string]> = {
    'can-connect-to-database': [config.database, 'SELECT 1'],
    'create-database': ['postgres', `CREATE DATABASE ${name}`],
    'drop-database': ['postgres', `DROP DATABASE ${name}`],
  }
  process.stderr.write('\n')
  try {
    const statement = statements[command ?? '']
    if (!statement) throw new Error(`unknown command ${command}`)
    const client = new pg.Client({ ...config, database: statement[0] })
    await client.connect()
    await client.query(statement[1])
    await client.end()
  } catch (error) {
    const { message, code = '' } = error as { message: string; code?: string }
    const known = { '3D000': 'P1003', '28P01': 'P1000', ECONNREFUSED: 'P1001', ENOTFOUND: 'P1001' }
    logError(message, known[code as keyof typeof known] ?? 'P1010')
    process.exitCode = 1
  }
}

type Request = { id?: unknown; method?: string; params: Record<string, unknown> }

async function serve(): Promise<void> {
  // One engine per process: it keeps the shadow database's answer between calls.
  let session: ReturnType<typeof openEngine> | undefined
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue
    const { id, method, params } = JSON.parse(line) as Request
    if (id === undefined || !method) continue
    try {
      session ??= openEngine({
        url: datasource.url ?? 'postgresql://invalid',
        shadowUrl: datasource.shadowDatabaseUrl,
        datamodels: (values.datamodels as string[] | undefined)?.map((file) => [
          file,
          readFileSync(file, 'utf8'),
        ]),
      })
      send({ id, result: (await answer((await session).engine, method, params)) ?? {} })
    } catch (error) {
      send({ id, error: errorOf(error) })
    }
  }
  await session?.then(
    (opened) => opened.close(),
    () => {},
  )
}

type Engine = Awaited<ReturnType<typeof openEngine>>['engine']

async function answer(engine: Engine, method: string, params: Request['params']): Promise<unknown> {
  const call = (name: string, input: unknown): Promise<unknown> => {
    const fn = engine[name]
    if (!fn) throw new Error(`the engine has no method ${name}`)
    return fn.call(engine, input)
  }
  // These two read the migrations' schema from the engine's cache; devDiagnostic fills it.
  if (method === 'evaluateDataLoss' || method === 'createMigration') {
    const { migrationsList, filters } = params
    await call('devDiagnostic', { migrationsList, filters })
  }
  const result = await call(method === 'getDatabaseVersion' ? 'version' : method, params)
  const { stdout } = (result ?? {}) as { stdout?: string | null }
  if (method === 'diff' && stdout != null)
    send({ id: 'print-1', method: 'print', params: { content: stdout.replace(/\n$/, '') } })
  return result
}

function errorOf(error: unknown) {
  const {
    message,
    meta = null,
    code,
  } = error as { message?: string; meta?: unknown; code?: string }
  return {
    code: 4466,
    message: 'An error happened. Check the data field for details.',
    data: { is_panic: false, message: message ?? String(error), meta, error_code: code },
  }
}

function send(message: object): void {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
}

function logError(message: string, code?: string): void {
  const fields = { message, ...(code ? { error_code: code, is_panic: false } : {}) }
  const line = {
    timestamp: new Date().toISOString(),
    level: 'ERROR',
    fields,
    target: 'schema_engine',
  }
  process.stderr.write(`${JSON.stringify(line)}\n`)
}
