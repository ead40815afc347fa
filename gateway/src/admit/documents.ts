import { createHash } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import { createLru } from '@berth/platform/lru'
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  type OperationDefinitionNode,
  parse,
  validate,
} from 'graphql'
import { LIMITS } from './limits.ts'

export type Documents = {
  /**
   * The parsed and validated document of this text.
   *
   * @throws {DomainError} TOO_COMPLEX when it has too many tokens
   * @throws {AggregateError} of GraphQLErrors when it is not valid
   */
  open(source: string): DocumentNode
  /** The same cache under SHA-256 of the text, as Apollo Server keeps its documents. */
  readonly store: {
    get(key: string): Promise<DocumentNode | undefined>
    set(key: string, document: DocumentNode): Promise<void>
    delete(key: string): Promise<boolean>
  }
}

const CACHED_DOCUMENTS = 2_000

/** Parses and validates each document once, for every face of the gateway. Bounded. */
export function createDocuments(
  schema: GraphQLSchema,
  { hideSchema, size = CACHED_DOCUMENTS }: { hideSchema: boolean; size?: number },
): Documents {
  const cache = createLru<string, DocumentNode>(size)
  return {
    open(source) {
      const key = createHash('sha256').update(source).digest('hex')
      const known = cache.get(key)
      if (known) return known
      const document = read(source)
      const errors = problemsOf(schema, document)
      if (errors.length > 0) throw new AggregateError(errors.map((it) => shown(it, hideSchema)))
      cache.set(key, document)
      return document
    },
    store: {
      // Apollo Server puts a prefix before the hash, which names the schema: there is one.
      get: async (key) => cache.get(key.slice(-64)),
      set: async (key, document) => cache.set(key.slice(-64), document),
      delete: async (key) => {
        cache.delete(key.slice(-64))
        return true
      },
    },
  }
}

/** For whoever parses elsewhere: the same limit, and `tooComplexToRead` knows its errors. */
export const PARSE_OPTIONS = Object.freeze({ maxTokens: LIMITS.tokens })

/**
 * graphql-js tells of it by these messages alone: values within each other may fill the stack before
 * the tokens are used up.
 *
 * @param error thrown while a document was parsed
 */
export function tooComplexToRead(error: { message: string }): DomainError | null {
  if (/Maximum call stack size exceeded/.test(error.message)) {
    return new DomainError('TOO_COMPLEX', 'The document is nested too deeply')
  }
  if (!/Document contains more tha[nt] \d+ tokens/.test(error.message)) return null
  return new DomainError(
    'TOO_COMPLEX',
    `The document is too long: more than ${LIMITS.tokens} tokens`,
  )
}

/** @throws {DomainError} BAD_INPUT when the name is missing or fits nothing */
export function operationOf(
  document: DocumentNode,
  operationName: string | null | undefined,
): OperationDefinitionNode {
  const operation = getOperationAST(document, operationName ?? undefined)
  if (operation) return operation
  throw new DomainError(
    'BAD_INPUT',
    operationName
      ? 'The document has no operation of this name'
      : 'The document has several operations: say which by `operationName`',
  )
}

function read(source: string): DocumentNode {
  try {
    return parse(source, PARSE_OPTIONS)
  } catch (error) {
    const refusal = error instanceof Error ? tooComplexToRead(error) : null
    if (refusal) throw refusal
    throw error instanceof GraphQLError ? new AggregateError([error]) : error
  }
}

/** One rule evaluates `@skip` without variables, and throws what it should report. */
function problemsOf(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
  try {
    return validate(schema, document)
  } catch (error) {
    if (error instanceof GraphQLError) return [error]
    throw error
  }
}

/** "Did you mean …" tells the schema to those who may not ask for it. */
function shown(error: GraphQLError, hideSchema: boolean): GraphQLError {
  if (!hideSchema) return error
  const { nodes, source, positions, path } = error
  const message = error.message.replace(/ ?Did you mean .+$/s, '')
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
  })
}
