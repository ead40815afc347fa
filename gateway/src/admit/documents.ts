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
  type Token,
  validate,
} from 'graphql'
import { checkLength, LIMITS } from './limits.ts'
import { type PlanningBudget, UNLIMITED_PLANNING } from './planning-budget.ts'
import type { Caller } from './rates.ts'
import { reworded, withoutSuggestions } from './suggestions.ts'

export type Documents = {
  /**
   * The parsed and validated document of this text.
   *
   * @throws {DomainError} TOO_COMPLEX when it is too long or has too many tokens, RATE_LIMITED for
   * whoever has sent too much that is new
   * @throws {AggregateError} of GraphQLErrors when it is not valid
   */
  open(source: string, by?: Opening): DocumentNode
  /** The same, and it is never evicted. */
  pin(source: string): DocumentNode
  /** Texts of those that were used most, first the most used. */
  hottest(count: number): readonly string[]
}

export type Opening = {
  /** Who pays for it when it is new; nobody does for what the gateway opens by itself. */
  readonly caller?: Caller | undefined
  /** SHA-256 of the text in hexadecimal, where it is known already. */
  readonly hash?: string | undefined
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
    budget = UNLIMITED_PLANNING,
    metrics,
    maxBytes = MAX_BYTES,
    onRead,
  }: {
    hideSchema: boolean
    budget?: PlanningBudget
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
    if (errors.length > 0) {
      const shown = errors.map(explained)
      throw new AggregateError(hideSchema ? shown.map(withoutSuggestions) : shown)
    }
    unlinkTokens(document)
    return document
  }

  return {
    open(source, { caller, hash: given } = NOBODY) {
      checkLength(source)
      const key = given ?? hash('sha256', source)
      const known = find(key)
      if (known) return known
      const make = () => checked(source)
      const document = caller ? budget.spend(caller, make) : make()
      keep(key, document)
      return document
    },
    pin(source) {
      checkLength(source)
      const key = hash('sha256', source)
      const known = pinned.get(key)
      if (known) return known
      const document = checked(source)
      onRead?.(document)
      pinned.set(key, document)
      return document
    },
    hottest: (count) => cache.hottest(count).map((it) => it.loc?.source.body ?? ''),
  }
}

const NOBODY: Opening = Object.freeze({})

/**
 * The parser links all tokens with each other, and so keeps the comments between them, which its
 * limit does not count. Each node keeps where it begins and ends: for that, no token needs another.
 */
function unlinkTokens({ loc }: DocumentNode): void {
  let token: Token | null = loc?.startToken ?? null
  while (token) {
    const { next }: Token = token
    const links: { prev: Token | null; next: Token | null } = token
    links.prev = null
    links.next = null
    token = next
  }
}

/**
 * Heap that a document takes with its plan and its compiled operation, measured over many kinds:
 * nodes, their tokens and what is planned from them grow with its tokens.
 */
const BYTES_PER_TOKEN = 1_400
const BYTES_PER_DOCUMENT = 8 * 1024

/** Bytes of heap, estimated: the document, one plan of it and what is compiled of that. */
export function weightOf(document: DocumentNode): number {
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

/** For whoever parses elsewhere. */
export const PARSE_OPTIONS = Object.freeze({ maxTokens: LIMITS.tokens })

/**
 * graphql-js tells of it by these messages alone: values within each other may fill the stack before
 * the tokens are used up.
 *
 * @param error thrown while a document was parsed
 */
function tooComplexToRead(error: { message: string }): DomainError | null {
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
function explained(error: GraphQLError): GraphQLError {
  const directive = /^Unknown directive "@(defer|stream)"\.$/.exec(error.message)?.[1]
  if (!directive) return error
  return reworded(
    error,
    `\`@${directive}\` is not supported: answers are sent whole. Take it out, and ask for what is slow in an operation of its own`,
  )
}
