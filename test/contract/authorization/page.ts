import { readFileSync } from 'node:fs'

const page = new URL('../../../doc/authorization-matrix.md', import.meta.url)

/** How a line of the page ends: whether the rules let somebody do it, and what they are told if not. */
const verdicts = ['yes', 'no', 'sign-in', 'none'] as const
export type Verdict = (typeof verdicts)[number]

/** A row's outcomes, by column. */
export type Outcomes = Readonly<Record<string, Verdict>>

/** `subgraph row` → its outcomes, as the page says. @throws {Error} for a line that it does not understand */
export function readMatrix(): ReadonlyMap<string, Outcomes> {
  const matrix = new Map<string, Outcomes>()
  let subgraph = ''
  let columns: string[] = []
  for (const line of readFileSync(page, 'utf8').split('\n')) {
    const heading = /^## (\w+)$/.exec(line)
    if (heading) [subgraph, columns] = [String(heading[1]), []]
    if (!line.startsWith('|') || line.startsWith('|--') || subgraph === '') continue
    const [first = '', ...cells] = line
      .split('|')
      .slice(1, -1)
      .map((it) => it.trim())
    if (columns.length === 0) {
      columns = cells
      continue
    }
    const name = `${subgraph} ${first.replaceAll('`', '')}`
    if (matrix.has(name)) throw new Error(`${name} is there twice`)
    if (cells.length !== columns.length) throw new Error(`${name} has ${cells.length} columns`)
    matrix.set(name, Object.fromEntries(cells.map((it, i) => [String(columns[i]), verdictOf(it)])))
  }
  return matrix
}

function verdictOf(text: string): Verdict {
  const verdict = verdicts.find((it) => it === text)
  if (verdict) return verdict
  throw new Error(`${JSON.stringify(text)} is none of ${verdicts.join(', ')}`)
}
