import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { PrismaPg } from '@prisma/adapter-pg'
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type SqlDriverAdapter,
} from '@prisma/driver-adapter-utils'
import * as glue from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'

type Connection = {
  host: string
  port: number
  user: string
  password: string
  database: string
}

type Methods = { free(): void } & Record<string, ((input: unknown) => Promise<unknown>) | undefined>

/** Prisma's schema engine, in this process, on `pg`. */
export async function openEngine({
  url,
  shadowUrl,
  datamodels,
}: {
  url: string
  shadowUrl: string | undefined
  datamodels: [file: string, text: string][] | undefined
}): Promise<{ engine: Methods; close(): Promise<void> }> {
  load()
  const opened: SqlDriverAdapter[] = []
  const adapter = bindMigrationAwareSqlAdapterFactory(migrationFactory(url, shadowUrl, opened))
  const made = await glue.SchemaEngine.new({ datamodels }, () => {}, adapter)
  const engine = made as unknown as Methods
  return {
    engine,
    async close() {
      engine.free()
      // The engine keeps its session, and with it the advisory lock, until its pool ends.
      for (const connection of opened) await connection.dispose().catch(() => {})
    },
  }
}

/** Parts of a database URL, and the schema that Prisma keeps in its query. */
export function connectionOf(url: string): { config: Connection; schema: string } {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const config = {
    host: decodeURIComponent(hostname),
    port: Number(port || 5432),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  }
  return { config, schema: searchParams.get('schema') ?? 'public' }
}

/** Node has it; TypeScript knows it only with the browser's library. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: object) => { exports: Record<string, unknown> }
}

type Panics = { message: string; get(): string; set_message(message: string): void }
const world = globalThis as { PRISMA_WASM_PANIC_REGISTRY?: Panics }

/** What the engine said when it panicked, or nothing. */
export function panicMessage(): string {
  return world.PRISMA_WASM_PANIC_REGISTRY?.get() ?? ''
}

function load(): void {
  const url = import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg')
  const file = fileURLToPath(url).replace(/\.js$/, '.wasm')
  world.PRISMA_WASM_PANIC_REGISTRY = {
    message: '',
    get() {
      return this.message
    },
    set_message(message) {
      this.message = `RuntimeError: ${message}`
    },
  }
  const module = new WebAssembly.Module(readFileSync(file))
  const { exports } = new WebAssembly.Instance(module, { './schema_engine_bg.js': glue })
  glue.__wbg_set_wasm(exports)
  ;(exports.__wbindgen_start as () => void)()
}

function poolOf(config: Connection, schema: string): PrismaPg {
  const options = `-c search_path="${schema}" -c TimeZone=UTC`
  return new PrismaPg({ ...config, max: 1, options }, { schema })
}

function migrationFactory(url: string, shadowUrl: string | undefined, opened: SqlDriverAdapter[]) {
  const { config, schema } = connectionOf(url)
  const open = async (at: Connection, inSchema: string) => {
    const adapter = forMigrations(await poolOf(at, inSchema).connect())
    opened.push(adapter)
    return adapter
  }
  return {
    provider: 'postgres' as const,
    adapterName: '@prisma/adapter-pg',
    connect: () => open(config, schema),
    async connectToShadowDb() {
      if (shadowUrl) {
        const shadow = connectionOf(shadowUrl)
        return open(shadow.config, shadow.schema)
      }
      // The adapter derives a shadow database wrongly from a connection string: made here.
      const admin = new pg.Client(config)
      await admin.connect()
      const database = `prisma_migrate_shadow_db_${randomUUID()}`
      await admin.query(`CREATE DATABASE "${database}"`)
      const adapter = forMigrations(await poolOf({ ...config, database }, schema).connect())
      const dispose = adapter.dispose.bind(adapter)
      return Object.assign(adapter, {
        async dispose() {
          await dispose()
          await admin.query(`DROP DATABASE IF EXISTS "${database}" WITH (FORCE)`)
          await admin.end()
        },
      })
    },
  }
}

/** Of the adapter's insides: what must be put right for the schema engine. */
type Insides = {
  performIO(query: unknown): Promise<{ fields?: { dataTypeID: number }[] }>
  client: { query(script: string): Promise<unknown> }
  onError(error: unknown): never
}

const CHAR_OID = 18
const TEXT_OID = 25

function forMigrations(adapter: SqlDriverAdapter): SqlDriverAdapter {
  const insides = adapter as unknown as Insides
  const performIO = insides.performIO.bind(adapter)
  const queryRaw = adapter.queryRaw.bind(adapter)
  let characters: number[] = []
  // Catalog queries return "char", which the adapter refuses and the engine calls Character.
  insides.performIO = async (query) => {
    const result = await performIO(query)
    characters = []
    result.fields?.forEach((field, index) => {
      if (field.dataTypeID !== CHAR_OID) return
      field.dataTypeID = TEXT_OID
      characters.push(index)
    })
    return result
  }
  adapter.queryRaw = async (query) => {
    const result = await queryRaw(query)
    for (const index of characters) result.columnTypes[index] = ColumnTypeEnum.Character
    return result
  }
  // The adapter splits scripts at every semicolon, those inside function bodies included.
  adapter.executeScript = async (script) => {
    await insides.client.query(script).catch((error) => insides.onError(error))
  }
  return adapter
}
