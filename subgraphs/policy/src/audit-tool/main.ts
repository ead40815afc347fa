// `npm run audit:verify` and `npm run audit:export`: doc/audit.md.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { installationOf } from '@berth/platform/run/installation'
import { openPolicyDatabase } from '../database.ts'
import { readAnchors } from '../domain/audit-anchor.ts'
import type { Break } from '../domain/audit-check.ts'
import type { PublicKeys } from '../domain/audit-checkpoint.ts'
import { checkExport } from '../domain/audit-export.ts'
import { verifyAudit } from '../service/audit-verify.ts'
import { downloadExport } from './download.ts'

const SHOWN = 20

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    /** Logs of policy and exports, whose checkpoints the trail must still have. */
    known: { type: 'string', multiple: true, default: [] },
    /** An export to check instead of the database. */
    file: { type: 'string' },
    /** Public keys: `services.jwks.json`. */
    keys: { type: 'string' },
    endpoint: { type: 'string' },
    from: { type: 'string' },
    to: { type: 'string' },
    out: { type: 'string' },
  },
})

async function verifyDatabase(): Promise<boolean> {
  const { databaseUrl, keysDir } = installationOf('policy', process.env)
  const keys = readKeys(values.keys ?? path.join(keysDir, 'services.jwks.json'))
  const anchors = values.known.flatMap((file) => readAnchors(readFileSync(file, 'utf8'), keys))
  const database = openPolicyDatabase(databaseUrl)
  try {
    const verdicts = await verifyAudit({ sql: database.sql, keys, anchors, now: new Date() })
    for (const { domain, links, signed, breaks } of verdicts) {
      console.log(`${domain}: ${links} entries, signed up to ${signed}, ${judged(breaks)}`)
      show(breaks)
    }
    if (verdicts.length === 0) console.log('Nothing has been audited')
    return verdicts.every(({ breaks }) => breaks.length === 0)
  } finally {
    await database.close()
  }
}

async function exportTrail(): Promise<boolean> {
  const { BERTH_PORT = '4000', BERTH_TOKEN } = process.env
  if (!BERTH_TOKEN) throw new Error('Set BERTH_TOKEN to an API key or an access token')
  const { ndjson, keys } = await downloadExport({
    endpoint: values.endpoint ?? `http://127.0.0.1:${BERTH_PORT}/graphql`,
    headers: { authorization: `Bearer ${BERTH_TOKEN}` },
    from: values.from,
    to: values.to,
  })
  const file = values.out ?? 'audit.ndjson'
  writeFileSync(file, ndjson, { mode: 0o600 })
  console.log(`Written to ${file}`)
  if (values.keys) return verifyExport(ndjson, readKeys(values.keys))
  console.log('Checked with the keys that came with it: name your own with --keys')
  return verifyExport(ndjson, keys)
}

function verifyExport(ndjson: string, keys: PublicKeys): boolean {
  const { entries, checkpoints, breaks } = checkExport(ndjson, keys)
  console.log(`${entries} entries, ${checkpoints} checkpoints, ${judged(breaks)}`)
  show(breaks)
  return breaks.length === 0
}

function judged(breaks: readonly Break[]): string {
  return breaks.length === 0 ? 'whole' : `BROKEN in ${breaks.length} places`
}

function show(breaks: readonly Break[]): void {
  for (const { domain, trail, position, what } of breaks.slice(0, SHOWN)) {
    console.log(`  ${domain} ${trail} ${position}: ${what}`)
  }
  if (breaks.length > SHOWN) console.log(`  and ${breaks.length - SHOWN} more`)
}

function readKeys(file: string): PublicKeys {
  return JSON.parse(readFileSync(file, 'utf8')) as PublicKeys
}

async function main(): Promise<boolean> {
  if (positionals[0] === 'export') return exportTrail()
  if (positionals[0] !== 'verify') throw new Error('Say verify or export')
  if (!values.file) return verifyDatabase()
  if (!values.keys) throw new Error('Name the public keys of the platform with --keys')
  return verifyExport(readFileSync(values.file, 'utf8'), readKeys(values.keys))
}

main().then(
  (isWhole) => {
    process.exitCode = isWhole ? 0 : 1
  },
  (error: Error) => {
    console.error(error.message)
    process.exitCode = 2
  },
)
