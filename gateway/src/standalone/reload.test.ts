import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  ask,
  type Command,
  composed,
  type ForeignSubgraph,
  openForeignSubgraph,
  run,
} from './test-kit.ts'

const SDL = `
  type Query { title: String! }
  type Mutation { rename(title: String!): String! }
`

let title = 'old'
/** What waits at the subgraph: each goes on when it is told to. */
const reads: (() => void)[] = []
const writes: (() => void)[] = []
let directory: string
let books: ForeignSubgraph
let command: Command | undefined

beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'gateway-'))
  books = await openForeignSubgraph('books', SDL, {
    Query: {
      title: () => {
        const seen = title
        return new Promise((resolve) => reads.push(() => resolve(seen)))
      },
    },
    Mutation: {
      rename: (_root: unknown, args: { title: string }) =>
        new Promise((resolve) => {
          writes.push(() => {
            title = args.title
            resolve(title)
          })
        }),
    },
  })
})
afterAll(async () => {
  command?.process.kill('SIGKILL')
  await books.close()
  await rm(directory, { recursive: true })
})

test('what was written by the graph of before is found by whoever reads in the next one', async () => {
  const file = path.join(directory, 'supergraph.graphql')
  await writeFile(file, composed(books))
  const flags = ['--port', '0', '--no-authentication', '--share-by-headers']
  command = run(['--supergraph', file, ...flags])
  const { lines } = command
  const url = await command.url
  const query = '{ title }'

  const written = ask(url, { query: 'mutation { rename(title: "new") }' })
  await vi.waitFor(() => expect(writes).toHaveLength(1), 10_000)
  await writeFile(file, `${composed(books)}\n# another`)
  await vi.waitFor(() => expect(lines.join('\n')).toContain('another supergraph'), 10_000)

  const before = ask(url, { query })
  await vi.waitFor(() => expect(reads).toHaveLength(1), 10_000)
  writes[0]?.()
  expect((await written).body.data).toEqual({ rename: 'new' })

  const after = ask(url, { query })
  // It asks the subgraph itself; joined, it would be answered with what the first one saw.
  await Promise.race([after, vi.waitFor(() => expect(reads).toHaveLength(2), 10_000)])
  for (const go of reads) go()
  expect((await before).body.data).toEqual({ title: 'old' })
  expect((await after).body.data).toEqual({ title: 'new' })
})
