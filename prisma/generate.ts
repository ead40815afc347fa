import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { domains } from './domains.ts'

const ROOT = import.meta.dirname
const require = createRequire(import.meta.url)

/** Generates the clients whose schema, or whose Prisma, has changed. */
const stale = domains.filter((domain) => stampOf(domain) !== written(domain))
await Promise.all(stale.map(generate))
console.log(stale.length ? `Generated ${stale.join(', ')}` : 'Every client is current')

async function generate(domain: string): Promise<void> {
  const cli = path.join(path.dirname(require.resolve('prisma/package.json')), 'build/index.js')
  const stamp = stampOf(domain)
  await promisify(execFile)(process.execPath, [cli, 'generate'], {
    cwd: ROOT,
    env: { ...process.env, PRISMA_DOMAIN: domain, PRISMA_HIDE_UPDATE_MESSAGE: '1', CI: '1' },
  })
  writeFileSync(stampFile(domain), stamp)
}

function stampOf(domain: string): string {
  const { version } = JSON.parse(readFileSync(require.resolve('prisma/package.json'), 'utf8')) as {
    version: string
  }
  const schema = readFileSync(path.join(ROOT, domain, 'schema.prisma'))
  return createHash('sha256').update(version).update(schema).digest('hex')
}

function stampFile(domain: string): string {
  return path.join(ROOT, domain, 'generated', 'stamp')
}

function written(domain: string): string | undefined {
  const file = stampFile(domain)
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}
