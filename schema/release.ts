import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { compose } from './compose.ts'
import { type Change, changes } from './evolution.ts'

// node release.ts [--check] [folder]: compares with what was released into the folder, or releases.
const FILES = ['api.graphql', 'partner.graphql'] as const
const NOTICE_DAYS = 90
const DAY_MS = 86_400_000

/**
 * Why a schema may not be released in the place of the one before: what it breaks, and deprecations
 * that give less notice than was promised.
 *
 * @param found what it changes
 * @param now milliseconds since 1970
 */
export function releaseProblems(found: readonly Change[], now: number): Change[] {
  const soonest = dayOf(now + NOTICE_DAYS * DAY_MS)
  return found.flatMap((it) => {
    if (it.level === 'breaking' || it.level === 'policy') return [it]
    if (!it.until || it.until >= soonest) return []
    const what = `${it.what} That is too soon: promise it for ${NOTICE_DAYS} days, until ${soonest}.`
    return [{ ...it, level: 'policy' as const, what }]
  })
}

/** What the SDL, as it is now, changes for the users of what was released last, by file. */
function changesByFile(composed: Readonly<Record<string, string>>, folder: string, now: number) {
  return FILES.map((name) => {
    const file = path.join(folder, name)
    const next = composed[name] ?? ''
    // Before the first release there is nothing to break.
    const released = existsSync(file) ? readFileSync(file, 'utf8') : next
    return { name, file, next, found: changes(released, next, dayOf(now)) }
  })
}

function main(isCheck: boolean, folder: string, now: number): void {
  const files = changesByFile(compose(), folder, now)
  const missing = files.filter(({ file }) => isCheck && !existsSync(file))
  if (missing.length > 0) {
    const names = missing.map(({ name }) => `schema/released/${name}`).join(' and ')
    throw new Error(
      `${names} not found: get it from the history, or run \`npm run schema:release\``,
    )
  }
  let isRefused = false
  for (const { name, found } of files) {
    const refused = isCheck
      ? found.filter((it) => it.level === 'breaking' || it.level === 'policy')
      : releaseProblems(found, now)
    isRefused ||= refused.length > 0
    for (const { level, at, what } of isCheck || refused.length === 0 ? found : refused) {
      console.log(`${name}: ${level}: ${at}: ${what}`)
    }
  }
  if (isRefused) {
    console.error('The schema breaks what was released: see doc/schema-evolution.md')
    process.exitCode = 1
    return
  }
  if (isCheck) return
  for (const { file, next } of files) {
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, next)
  }
}

function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10)
}

if (import.meta.main) {
  const [folder = path.join(import.meta.dirname, 'released')] = process.argv
    .slice(2)
    .filter((it) => !it.startsWith('-'))
  main(process.argv.includes('--check'), folder, Date.now())
}
