import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { parse } from 'yaml'
import { z } from 'zod'

const root = path.join(import.meta.dirname, '..', '..')
const statuses = ['open', 'planned', 'in_progress', 'done'] as const

const Item = z.strictObject({
  id: z.string().regex(/^[WTB]\d{1,2}$/),
  title: z.string(),
  /** What Berth promises once the item is done. */
  promise: z.string(),
  status: z.enum(statuses),
  owner: z.string(),
  /** What holds today, and what does not: in plain words. */
  today: z.string(),
  /** Commands that run tests; run from the root of the project. */
  acceptance_checks: z.array(z.string()).default([]),
})
const Watchlist = z.strictObject({
  sections: z.array(
    z.strictObject({ title: z.string(), prefix: z.string(), items: z.array(Item) }),
  ),
})

export type Watchlist = z.output<typeof Watchlist>
export type Item = z.output<typeof Item>

/** @throws {Error} naming what is wrong, when the file is not a watchlist */
export function readWatchlist(text: string): Watchlist {
  const list = Watchlist.parse(parse(text))
  const items = list.sections.flatMap((it) => it.items)
  const unchecked = items.filter((it) => it.status === 'done' && it.acceptance_checks.length === 0)
  if (unchecked.length > 0) {
    throw new Error(`done without an acceptance check: ${unchecked.map((it) => it.id).join(', ')}`)
  }
  return list
}

/**
 * Runs a check and reads how many tests passed from its closing lines.
 *
 * @returns null when it holds, or why it does not: it failed, or it executed no test
 */
export async function runCheck(command: string): Promise<string | null> {
  const child = spawn('bash', ['-c', command], {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (it) => (output += it))
  child.stderr.on('data', (it) => (output += it))
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) return `exited with ${code}:\n${output.trim().split('\n').slice(-15).join('\n')}`
  return passedTests(output) > 0 ? null : 'executed no test'
}

/** The number in vitest's closing line `Tests  12 passed (12)`; 0 when there is none. */
export function passedTests(output: string): number {
  const line = /^\s*Tests\s.*?(\d+) passed/m.exec(stripVTControlCharacters(output))
  return Number(line?.[1] ?? 0)
}

/** The page that people read. */
export function render({ sections }: Watchlist): string {
  const all = sections.flatMap((it) => it.items)
  const count = (status: string) => all.filter((it) => it.status === status).length
  const summary = statuses.map((it) => `${count(it)} ${it.replace('_', ' ')}`).join(', ')
  return [
    '# Watchlist',
    '',
    `Rendered from \`doc/watchlist.yaml\` by \`npm run evidence\`, which runs the checks of every item`,
    `that is done and fails when one fails or executes no test. ${all.length} items: ${summary}.`,
    ...sections.flatMap((section) => ['', `## ${section.title}`, ...section.items.flatMap(page)]),
    '',
  ].join('\n')
}

function page(item: Item): string[] {
  return [
    '',
    `### ${item.id} ${item.title}`,
    '',
    `**${item.status.replace('_', ' ')}** · ${item.owner}`,
    '',
    `Promise: ${item.promise.trim()}`,
    '',
    `Today: ${item.today.trim()}`,
    ...(item.acceptance_checks.length > 0 ? ['', '```sh', ...item.acceptance_checks, '```'] : []),
  ]
}

async function main(isCheck: boolean): Promise<void> {
  const list = readWatchlist(readFileSync(path.join(root, 'doc/watchlist.yaml'), 'utf8'))
  let failures = 0
  for (const item of list.sections.flatMap((it) => it.items)) {
    if (item.status !== 'done') continue
    for (const command of item.acceptance_checks) {
      const problem = await runCheck(command)
      console.log(`${problem ? 'FAILED' : 'holds '} ${item.id} ${command}`)
      if (problem) console.log(problem)
      if (problem) failures += 1
    }
  }
  const file = path.join(root, 'doc/watchlist.md')
  if (!isCheck) writeFileSync(file, render(list))
  else if (readFileSync(file, 'utf8') !== render(list)) {
    console.log('doc/watchlist.md is stale: run `npm run evidence` and commit it')
    failures += 1
  }
  process.exitCode = failures > 0 ? 1 : 0
}

if (import.meta.main) await main(process.argv.includes('--check'))
