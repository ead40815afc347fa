import path from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testDirectory } from '../servers/test-directory.ts'
import { acquireTestServers } from '../servers/test-servers.ts'
import { type DomainUrls, domainUrls, prepareDatabase } from './database.ts'

// Names of this run alone: roles belong to the server, which other tests share.
const tag = `s${process.pid}`
const domains = [`${tag}red`, `${tag}blue`] as const
const [red, blue] = domains
const passwords = Object.fromEntries(
  domains.flatMap((domain) => [
    [`${domain}_owner`, 'owner'],
    [`${domain}_app`, 'app'],
  ]),
)
const database = `${tag}_setup`
let superuserUrl: string

beforeAll(async () => {
  superuserUrl = (await acquireTestServers()).postgresAdminUrl
})

afterAll(async () => {
  await ask(superuserUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`)
  await ask(superuserUrl, `DROP DATABASE IF EXISTS ${tag}_managed WITH (FORCE)`)
  for (const domain of domains)
    for (const role of ['owner', 'app'])
      await ask(superuserUrl, `DROP ROLE IF EXISTS ${domain}_${role}`)
  await ask(superuserUrl, `DROP ROLE IF EXISTS ${tag}_admin`)
})

async function ask(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const prepare = (adminUrl = superuserUrl, name = database) =>
  prepareDatabase({ adminUrl, database: name, domains, passwords })

test('parallel set-ups agree, and each role reaches its own schema only', async () => {
  const [urls] = await Promise.all([prepare(), prepare(), prepare()])
  const { owner, app } = urls[red]!
  await ask(owner, `CREATE TABLE ${red}.things (id int)`)
  await ask(owner, `CREATE FUNCTION ${red}.leak() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
  // Without a grant not even the domain's own service may look.
  await expect(ask(app, `SELECT * FROM ${red}.things`)).rejects.toThrow('permission denied')
  await ask(owner, `GRANT USAGE ON SCHEMA ${red} TO ${red}_app`)
  await expect(ask(app, `SELECT ${red}.leak()`)).rejects.toThrow('permission denied')
  await ask(owner, `GRANT SELECT ON ${red}.things TO ${red}_app`)
  expect(await ask(app, `SELECT * FROM ${red}.things`)).toEqual([])
  for (const stranger of [urls[blue]!.owner, urls[blue]!.app])
    await expect(ask(stranger, `SELECT * FROM ${red}.things`)).rejects.toThrow('permission denied')
  for (const url of [owner, app, urls[blue]!.app]) {
    await expect(ask(url, 'CREATE TABLE public.mine (id int)')).rejects.toThrow('permission denied')
    await expect(ask(url, 'CREATE SCHEMA mine')).rejects.toThrow('permission denied')
    await expect(ask(url, `ALTER ROLE ${blue}_app SUPERUSER`)).rejects.toThrow('permission denied')
  }
})

test('an administrator that is no superuser is enough', async () => {
  await prepare()
  for (const domain of domains) {
    await ask(superuserUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`)
    for (const role of ['owner', 'app']) await ask(superuserUrl, `DROP ROLE ${domain}_${role}`)
  }
  await ask(superuserUrl, `CREATE ROLE ${tag}_admin LOGIN CREATEROLE CREATEDB PASSWORD 'admin'`)
  const adminUrl = new URL(superuserUrl)
  adminUrl.username = `${tag}_admin`
  adminUrl.password = 'admin'
  const urls = await prepare(adminUrl.href, `${tag}_managed`)
  await prepare(adminUrl.href, `${tag}_managed`)
  await ask(urls[red]!.owner, `CREATE TABLE ${red}.things (id int)`)
})

test('URLs from the environment win, and half a pair is refused', async () => {
  using directory = testDirectory()
  const named = (domain: string): DomainUrls => ({
    app: `postgresql://a/${domain}`,
    owner: `postgresql://o/${domain}`,
  })
  const env = Object.fromEntries(
    domains.flatMap((domain) => [
      [`${domain.toUpperCase()}_DATABASE_URL`, named(domain).app],
      [`${domain.toUpperCase()}_OWNER_DATABASE_URL`, named(domain).owner],
    ]),
  )
  const given = {
    adminUrl: 'postgresql://nobody@127.0.0.1:1/x',
    domains,
    passwordFile: path.join(directory.path, 'passwords'),
  }
  expect(await domainUrls({ ...given, env })).toEqual({ [red]: named(red), [blue]: named(blue) })
  delete env[`${red.toUpperCase()}_OWNER_DATABASE_URL`]
  await expect(domainUrls({ ...given, env })).rejects.toThrow(/Set both .*_OWNER_DATABASE_URL/)
})
