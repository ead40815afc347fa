import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { serverAccount } from './account.ts'
import { berthHome } from './home.ts'
import { freeBasePort } from './ports.ts'
import { type PostgresOptions, postgresServer } from './postgres.ts'
import { type Supervised, supervise } from './supervise.ts'
import { testDirectory } from './test-directory.ts'

// Other work on the machine may slow every step down.
vi.setConfig({ testTimeout: 120_000 })
const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 30_000 })

let directory: ReturnType<typeof testDirectory>
let options: PostgresOptions
let unit: Supervised | undefined

beforeEach(async () => {
  directory = testDirectory()
  options = {
    home: path.join(directory.path, 'postgres'),
    servers: berthHome().servers,
    port: await freeBasePort([0]),
    password: 'secret',
    account: serverAccount(),
    durable: true,
  }
})

afterEach(async () => {
  await unit?.stop()
  unit = undefined
  directory[Symbol.dispose]()
})

async function start(): Promise<string> {
  const { url, program } = await postgresServer(options)
  unit = supervise(program, { run: `${directory.path}/run`, log: `${directory.path}/log` })
  await unit.start()
  return url
}

async function ask<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}

test('what was committed is there after kill -9 of the server, which comes back by itself', async () => {
  const url = await start()
  await ask(url, 'CREATE TABLE kept AS SELECT 42 AS answer')
  const killed = unit!.pid()
  unit!.kill('SIGKILL')
  await eventually(() => unit!.pid() !== killed && unit!.pid()).toBeTruthy()
  await unit!.start()
  expect(await ask(url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }])
})

test('it keeps UTC, the C.UTF-8 locale, fsync and passwords', async () => {
  const url = await start()
  const [settings] = await ask(
    url,
    `SELECT current_setting('TimeZone') AS zone, current_setting('fsync') AS fsync,
       current_setting('listen_addresses') AS addresses,
       (SELECT datlocale FROM pg_database WHERE datname = 'postgres') AS locale`,
  )
  expect(settings).toEqual({ zone: 'UTC', fsync: 'on', addresses: '127.0.0.1', locale: 'C.UTF-8' })
  await expect(ask(url.replace('secret', 'guess'), 'SELECT 1')).rejects.toThrow('password')
})

test('a stale pid file of a process that is no Postgres does not stop it', async () => {
  await start()
  await unit!.stop()
  writeFileSync(path.join(options.home, 'data/postmaster.pid'), `${process.pid}\n`)
  await start()
})

test.each([
  ['the version is missing', 'PG_VERSION', undefined, /not a whole Postgres data directory/],
  ['a part is missing', 'global/pg_control', undefined, /pg_control is missing/],
  ['another major made it', 'PG_VERSION', '17\n', /made by Postgres 17 and this is Postgres 18/],
])('a data directory is refused in one line when %s', async (_, file, text, message) => {
  await start()
  await unit!.stop()
  const at = path.join(options.home, 'data', file)
  rmSync(at)
  if (text) writeFileSync(at, text)
  const refusal = await postgresServer(options).catch((error: Error) => error)
  expect((refusal as Error).message).toMatch(message)
  expect((refusal as Error).message).not.toContain('\n')
})

test('a damaged cluster is refused with what Postgres says of it', async () => {
  await start()
  await unit!.stop()
  writeFileSync(path.join(options.home, 'data/global/pg_control'), 'damaged')
  await expect(start()).rejects.toThrow(/postgres ended .*pg_control/)
})
