import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ConfigError } from '@berth/platform/config'
import { type GraphQLSchema, parse, validate } from 'graphql'
import { z } from 'zod'
import { PARSE_OPTIONS } from './documents.ts'

/** Documents that were registered beforehand, by SHA-256 (hex) of their text. */
export type TrustedDocuments = ReadonlyMap<string, TrustedDocument>

export type TrustedDocument = { readonly name: string; readonly body: string }

export const NO_TRUSTED_DOCUMENTS: TrustedDocuments = new Map()

const FORMAT = 'apollo-persisted-query-manifest'

const Manifest = z.object({
  format: z.literal(FORMAT),
  version: z.literal(1),
  operations: z.array(
    z.object({
      id: z.string(),
      name: z.string(),
      type: z.enum(['query', 'mutation', 'subscription']),
      body: z.string().min(1),
    }),
  ),
})

/**
 * Reads a manifest in the format of Apollo's `generate-persisted-query-manifest`, version 1.
 *
 * @param schema in which each document must be valid
 * @throws {ConfigError} when it cannot be read, is of another format, a document is not valid, or an
 * id is not the SHA-256 of its body: it was made by other means, or changed since
 */
export function readTrustedDocuments(file: string, schema: GraphQLSchema): TrustedDocuments {
  const refuse = (why: string) => new ConfigError(`Trusted documents, ${file}: ${why}`)
  let json: unknown
  try {
    json = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error))
  }
  const parsed = Manifest.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const where = issue?.path.join('.') || 'the whole'
    throw refuse(`not of the format ${FORMAT}, version 1 (${where}: ${issue?.message})`)
  }
  const documents = new Map<string, TrustedDocument>()
  for (const { id, name, body } of parsed.data.operations) {
    const actual = hash('sha256', body)
    if (id !== actual) throw refuse(`the id of ${name} is not the SHA-256 of its body (${actual})`)
    const [problem] = problemsOf(schema, body)
    if (problem) throw refuse(`${name} is not valid here: ${problem}`)
    documents.set(id, { name, body })
  }
  return documents
}

function problemsOf(schema: GraphQLSchema, body: string): string[] {
  try {
    return validate(schema, parse(body, PARSE_OPTIONS)).map(({ message }) => message)
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}
