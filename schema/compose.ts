import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { composeServices } from '@apollo/composition'
import { buildSchema, parse, printSchema } from 'graphql'
import { apiSchema, audienceSchema } from './audience.ts'
import { authorityProblems } from './authority.ts'
import { cedarSchema } from './cedar.ts'

const root = path.join(import.meta.dirname, '..')
const domains = ['allocations', 'billing', 'inventory', 'notifications', 'policy'] as const

type Composed = 'supergraph.graphql' | 'api.graphql' | 'partner.graphql' | 'policy.cedarschema'

/**
 * Composes the subgraphs' SDL (Federation 2) into what the gateway runs, what clients see, what
 * partners see of it, and what authorization rules may say.
 *
 * @returns file name → text, of each composed file
 * @throws {Error} with every composition error and every hint, when the subgraphs do not fit, and
 * with every field that needs one of narrower authority, and with what partners could not use
 */
export function compose(): Record<Composed, string> {
  const subgraphs = domains.map(subgraph)
  const { supergraphSdl, errors, hints } = composeServices(subgraphs)
  if (!supergraphSdl) throw new Error(messages('The subgraphs do not compose', errors))
  if (hints.length > 0) throw new Error(messages('The subgraphs disagree', hints))
  const narrower = authorityProblems(
    buildSchema(supergraphSdl, { assumeValidSDL: true }),
    subgraphs.map((it) => it.typeDefs),
  )
  if (narrower.length > 0) {
    const list = narrower.map((message) => ({ message }))
    throw new Error(messages('Fields need what fewer may share', list))
  }
  return {
    'supergraph.graphql': `${supergraphSdl.trim()}\n`,
    'api.graphql': `${printSchema(apiSchema(supergraphSdl))}\n`,
    'partner.graphql': audienceSchema(supergraphSdl, subgraphs, 'partner'),
    'policy.cedarschema': cedarSchema(subgraphs.map((it) => it.typeDefs)),
  }
}

function subgraph(name: string) {
  const sdl = readFileSync(path.join(root, 'schema', `${name}.graphql`), 'utf8')
  return { name, url: `http://127.0.0.1:${portOf(name)}/graphql`, typeDefs: parse(sdl) }
}

/** The development port, from the service's own manifest; the gateway overrides it by configuration. */
function portOf(name: string): number {
  const manifest = JSON.parse(
    readFileSync(path.join(root, 'subgraphs', name, 'package.json'), 'utf8'),
  ) as { berth: { services: { name: string; port: number }[] } }
  const service = manifest.berth.services.find((it) => it.name === name)
  if (!service) throw new Error(`subgraphs/${name}/package.json names no service ${name}`)
  return 4000 + service.port
}

function messages(title: string, list: readonly { message: string }[] = []): string {
  return `${title}:\n${list.map((it) => `- ${it.message}`).join('\n')}`
}

function main(check: boolean): void {
  for (const [name, text] of Object.entries(compose())) {
    const file = path.join(root, 'schema', name)
    if (!check) writeFileSync(file, text)
    else if (readFileSync(file, 'utf8') !== text) {
      console.error(`schema/${name} is stale: run \`npm run compose\` and commit it`)
      process.exitCode = 1
    }
  }
}

if (import.meta.main) main(process.argv.includes('--check'))
