import { readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const folder = path.join(import.meta.dirname, '../../doc')
const page = path.join(folder, 'performance.md')

/**
 * Puts what a bench found into `doc/performance.md`, between its markers, and its picture beside,
 * where it has one.
 *
 * @throws {Error} when the page has no such markers
 */
export function writeSection(name: string, markdown: string, picture?: string): void {
  const text = readFileSync(page, 'utf8')
  const [start, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const [from, to] = [text.indexOf(start), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`doc/performance.md has no ${start} … ${end}`)
  const section = `${start}\n\n${markdown.trim()}\n\n`
  writeFileSync(page, text.slice(0, from) + section + text.slice(to))
  if (picture) writeFileSync(path.join(folder, `${name}-benchmark.svg`), picture)
}

/** A table whose first column is words and whose others are figures. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const rule = `|${head.map((_, index) => (index === 0 ? '---' : '---:')).join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}

/** The machine of a run, as a figure's method needs it. */
export function machine(): string {
  const memory = Math.round(os.totalmem() / 2 ** 30)
  return `${os.cpus().length} cores (${os.cpus()[0]?.model.trim() ?? os.arch()}), ${memory} GiB, Node ${process.versions.node}`
}
