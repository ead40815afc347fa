import { hash } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import type { Metrics } from '@berth/platform/metrics'
import { createWeightedCache } from '@berth/platform/weighted-cache'
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
  /** The same, and it is never evicted. */
  pin(source: string): DocumentNode
  /** Texts of those that were used most, first the most used. */
  hottest(count: number): readonly string[]
  /** The same cache under SHA-256 of the text, as Apollo Server keeps its documents. */
  readonly store: {
    get(key: string): Promise<DocumentNode | undefined>
    set(key: string, document: DocumentNode): Promise<void>
    delete(key: string): Promise<boolean>
  }
}

/** Bytes of heap, estimated, that documents and all that hangs on them may take. */
const MAX_BYTES = 64 * 1024 * 1024

/**
 * Parses and validates each document once, for every face of the gateway, and keeps it while there
 * is room. Plans and compiled operations are kept by a document's nodes: they are weighed with it,
 * and go with it. What is not valid is not kept: it costs its sender the same each time.
 *
 * @param onRead told of each document that is kept, once, before it is given to anyone
 */
export function createDocuments(
  schema: GraphQLSchema,
  {
    hideSchema,
    metrics,
    maxBytes = MAX_BYTES,
    onRead,
  }: {
    hideSchema: boolean
    metrics: Metrics
    maxBytes?: number
    onRead?: (document: DocumentNode) => void
  },
): Documents {
  const { hits, misses, evictions, bytes } = documentMetrics(metrics)
  const pinned = new Map<string, DocumentNode>()
  const cache = createWeightedCache<string, DocumentNode>({
    maxWeight: maxBytes,
    onEvict: () => evictions.inc(),
  })

  function find(key: string): DocumentNode | undefined {
    const known = pinned.get(key) ?? cache.get(key)
    if (known) hits.inc()
    else misses.inc()
    return known
  }

  function keep(key: string, document: DocumentNode): void {
    onRead?.(document)
    cache.set(key, document, weightOf(document))
    bytes.set(cache.weight)
  }

  function checked(source: string): DocumentNode {
    const document = read(source)
    const errors = problemsOf(schema, document)
    if (errors.length === 0) return document
    throw new AggregateError(errors.map((it) => shown(explained(it), hideSchema)))
  }

  return {
    open(source) {
      const key = hash('sha256', source)
      const known = find(key)
      if (known) return known
      const document = checked(source)
      keep(key, document)
      return document
    },
    pin(source) {
      const key = hash('sha256', source)
      const known = pinned.get(key)
      if (known) return known
      const document = checked(source)
      onRead?.(document)
      pinned.set(key, document)
      return document
    },
    hottest: (count) => cache.hottest(count).map((it) => it.loc?.source.body ?? ''),
    store: {
      // Apollo Server puts a prefix before the hash, which names the schema: there is one.
      get: async (key) => find(key.slice(-HASH_LENGTH)),
      set: async (key, document) => keep(key.slice(-HASH_LENGTH), document),
      delete: async (key) => {
        cache.delete(key.slice(-HASH_LENGTH))
        return true
      },
    },
  }
}

/** Of SHA-256 in hexadecimal. */
const HASH_LENGTH = 64

/**
 * Heap that a document takes with its plan and its compiled operation, measured over many kinds:
 * nodes, their tokens and what is planned from them grow with its tokens.
 */
const BYTES_PER_TOKEN = 1_400
const BYTES_PER_DOCUMENT = 8 * 1024

function weightOf(document: DocumentNode): number {
  // Set by `parse`, but not of its type.
  const { tokenCount = 0 } = document as { tokenCount?: number }
  const characters = document.loc?.source.body.length ?? 0
  return BYTES_PER_DOCUMENT + BYTES_PER_TOKEN * tokenCount + 2 * characters
}

function documentMetrics(metrics: Metrics) {
  const counter = (name: string, help: string) =>
    metrics.counter(`berth_gateway_documents_${name}_total`, help)
  return {
    hits: counter('hits', 'Documents that were parsed and validated before'),
    misses: counter('misses', 'Documents that had to be parsed and validated'),
    evictions: counter('evictions', 'Documents that had to make room for others'),
    bytes: metrics.gauge('berth_gateway_documents_bytes', 'Estimated size of the documents kept'),
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

/**
 * Answers come whole here, in one part: who asks for several is told so, and not only that the
 * directive is unknown.
 */
export function explained(error: GraphQLError): GraphQLError {
  const directive = /^Unknown directive "@(defer|stream)"\.$/.exec(error.message)?.[1]
  if (!directive) return error
  return reworded(
    error,
    `\`@${directive}\` is not supported: answers are sent whole. Take it out, and ask for what is slow in an operation of its own`,
  )
}

/** "Did you mean …" tells the schema to those who may not ask for it. */
function shown(error: GraphQLError, hideSchema: boolean): GraphQLError {
  if (!hideSchema) return error
  return reworded(error, error.message.replace(/ ?Did you mean .+$/s, ''))
}

function reworded({ nodes, source, positions, path }: GraphQLError, message: string): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
  })
}
