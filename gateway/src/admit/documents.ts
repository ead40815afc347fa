import { hash } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import type { Metrics } from '@berth/platform/metrics'
import { createWeightedCache } from '@berth/platform/weighted-cache'
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  Kind,
  type Location,
  type OperationDefinitionNode,
  parse,
  type VariableDefinitionNode,
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
   * @throws {DomainError} TOO_COMPLEX when it is too long, or too much to read or to validate,
   * RATE_LIMITED for whoever has sent too much that is new
   * @throws {AggregateError} of GraphQLErrors when it is not valid
   */
  open(source: string, by?: Opening): DocumentNode
  /** The same, and it is never evicted. */
  pin(source: string): DocumentNode
  /**
   * Plans were made of this document, and are kept as long as it is: it weighs more by that.
   *
   * @param fetches requests to subgraphs that they have
   */
  planned(document: DocumentNode, fetches: number): void
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
  const keys = new WeakMap<DocumentNode, string>()
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
    keys.set(document, key)
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
    return kept(document)
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
    planned(document, fetches) {
      const key = keys.get(document)
      if (key === undefined) return
      cache.grow(key, document, weightOfPlan(fetches))
      bytes.set(cache.weight)
    },
    hottest: (count) => cache.hottest(count).map((it) => it.loc?.source.body ?? ''),
  }
}

const NOBODY: Opening = Object.freeze({})

/**
 * The same document without its tokens, of which every node keeps two, and they all others with the
 * comments between them: they are most of what a small document takes. What is told once it is
 * valid is what a variable was given: where that was declared is kept.
 */
function kept(document: DocumentNode): DocumentNode {
  const { source } = document.loc ?? {}
  if (!source) return document
  const bare = parse(source, { ...PARSE_OPTIONS, noLocation: true })
  place(bare, document)
  const declared = variablesOf(document)
  for (const [index, it] of variablesOf(bare).entries()) place(it, declared[index])
  return bare
}

function variablesOf({ definitions }: DocumentNode): readonly VariableDefinitionNode[] {
  return definitions.flatMap((it) =>
    it.kind === Kind.OPERATION_DEFINITION ? (it.variableDefinitions ?? []) : [],
  )
}

type Placed = { readonly loc?: Location | undefined }

/** Where the one is, without its tokens. */
function place(node: Placed, { loc }: Placed = {}): void {
  if (!loc) return
  const { start, end, source } = loc
  Object.assign(node, { loc: { start, end, source } })
}

/** Measured over many kinds of documents, as `weight.test.ts` does. */
const BYTES_PER_TOKEN = 500
/** Of a plan: the closures of a request, and what it was compiled from. */
const BYTES_PER_FETCH = 14_500

/** Bytes of heap, estimated, that a document takes with what is made of it but for its requests. */
export function weightOf(document: DocumentNode): number {
  // Set by `parse`, but not of its type.
  const { tokenCount = 0 } = document as { tokenCount?: number }
  const { body = '' } = document.loc?.source ?? {}
  return BYTES_PER_TOKEN * tokenCount + bytesOf(body)
}

/** The same, of a compiled plan with so many requests. */
export function weightOfPlan(fetches: number): number {
  return BYTES_PER_FETCH * fetches
}

/** V8 keeps a string with two bytes a character once one of them needs two. */
function bytesOf(text: string): number {
  return /[^\0-\xff]/.test(text) ? 2 * text.length : text.length
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

/**
 * @throws {DomainError} TOO_COMPLEX where fields of one response name, or fragments in fragments, are
 * too many to compare: graphql-js tells of both by this message alone
 */
function problemsOf(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
  const errors = validated(schema, document)
  if (!errors.some((it) => it.message === 'Validation aborted.')) return errors
  throw new DomainError(
    'TOO_COMPLEX',
    'The document takes too much to validate: ask for each field once, and spread fewer fragments in others',
  )
}

/** One rule evaluates `@skip` without variables, and throws what it should report. */
function validated(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
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
