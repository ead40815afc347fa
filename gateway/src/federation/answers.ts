import { DomainError, ForeignError, isErrorCode } from '@berth/platform/errors'
import { type DocumentNode, type GraphQLFormattedError, Kind, parse } from 'graphql'

/** As a subgraph answers, or as the gateway answers in its stead. */
export type SubgraphAnswer = {
  data?: Record<string, unknown> | null
  // biome-ignore lint/suspicious/noExplicitAny: the executor reads message, path and extensions.
  errors?: readonly any[]
  extensions?: Record<string, unknown>
  /** Instead of all else: the text that a `Take` took, which has data and nothing else. */
  taken?: Buffer
}

/** Reads an answer's text (JSON, in UTF-8) in place of who would parse it. @returns whether it did */
export type Take = (bytes: Buffer) => boolean

/** What an operation came to. */
export type Answer = {
  /** `data` as JSON text ('null' too); undefined when nothing was run. */
  readonly dataText: string | undefined
  /** As thrown or as subgraphs sent them, each with its path; not yet shown to anyone. */
  readonly errors: readonly Error[]
  /** `dataText` with a character for each byte of its UTF-8, where it is there in this form. */
  readonly dataBytes?: string
}

/** Data that is there as bytes: for who sends it, it need not be text. It may have several readers. */
export class BytesAnswer implements Answer {
  readonly errors: readonly Error[] = NO_ERRORS
  readonly dataBytes: string
  #text: string | undefined

  /** @param isAscii bytes and text are the same */
  constructor(dataBytes: string, isAscii: boolean) {
    this.dataBytes = dataBytes
    if (isAscii) this.#text = dataBytes
  }

  get dataText(): string {
    this.#text ??= decoded(this.dataBytes)
    return this.#text
  }
}

const NO_ERRORS: readonly Error[] = Object.freeze([])

/** The text of UTF-8 that has a character for each byte. */
export function decoded(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

type Path = readonly (string | number)[]

/**
 * A subgraph's answer with its errors as the translator knows them: a code of the closed list stays
 * with its message, all else becomes a fault, which is masked. Paths stay for the executor, which
 * makes them those of the whole operation.
 */
export function withKnownErrors(service: string, answer: SubgraphAnswer): SubgraphAnswer {
  if (!answer.errors) return answer
  return { ...answer, errors: knownErrors(service, answer.errors) }
}

/** How many errors one answer shows; the others are one, which says how many they are. */
export const MAX_ERRORS = 100

/** Stands for errors that are not shown one by one. */
export class LeftOut extends DomainError {
  readonly count: number

  constructor(count: number) {
    super('TOO_COMPLEX', `${count} more errors are left out: ask for less at once`, {
      leftOut: count,
    })
    this.count = count
  }
}

/** Those of a subgraph, no more than are shown. */
export function knownErrors(service: string, errors: readonly GraphQLFormattedError[]): Error[] {
  const known: Error[] = errors.slice(0, MAX_ERRORS).map((it) => knownError(service, it))
  if (errors.length > MAX_ERRORS) known.push(new LeftOut(errors.length - MAX_ERRORS))
  return known
}

export function knownError(service: string, error: GraphQLFormattedError): Error & { path?: Path } {
  if (error instanceof ForeignError) return error as Error & { path?: Path }
  const { message, path, extensions } = error
  const {
    code,
    requestId: _id,
    retryable: _retryable,
    serviceName: _name,
    cause: _cause,
    ...fields
  } = extensions ?? {}
  const known = isErrorCode(code) && !isOurFault(code, error)
  return Object.assign(
    known
      ? new DomainError(code, message, fields)
      : new DomainError('INTERNAL', `${service} answered with an error: ${message}`),
    path ? { path } : {},
  )
}

/**
 * An error of the whole request says that what the gateway sent was not right: an assertion that
 * the subgraph does not trust, a document that does not fit its schema. The client's own part in
 * that is its variables.
 */
function isOurFault(code: string, { path, message }: GraphQLFormattedError): boolean {
  if (path) return false
  return code === 'UNAUTHENTICATED' || (code === 'BAD_INPUT' && !message.startsWith('Variable "$'))
}

/** At how many places one failure is told. */
export const MAX_HOLES = 100

/**
 * The answer of a subgraph that did not answer: the error at every place where its data would have
 * been, so that a client can tell which fields failed; a fault, which is logged, at the first.
 */
export function unanswered(
  error: unknown,
  request: { query?: string | undefined; variables?: Record<string, unknown> | undefined },
): SubgraphAnswer {
  const paths = holes(request.query ?? '', request.variables)
  if (!(error instanceof DomainError)) {
    const fault = new DomainError('INTERNAL', 'a fetch failed', { cause: error })
    return { errors: [Object.assign(fault, { path: paths[0] })] }
  }
  const { code, message, extensions } = error
  return {
    errors: paths.map((path) =>
      Object.assign(new DomainError(code, message, { ...extensions, cause: error }), { path }),
    ),
  }
}

/** Each root field, or each field of each entity that was asked for. */
function holes(query: string, variables: Record<string, unknown> = {}): Path[] {
  const roots = rootSelections(parse(query, { noLocation: true }))
  const entities = roots.find((it) => it.name.value === '_entities')
  if (!entities) return roots.map((it) => [it.alias?.value ?? it.name.value])
  const representations = (variables.representations ?? []) as { __typename?: string }[]
  return representations
    .flatMap(({ __typename }, index) => {
      const keys = (entities.selectionSet?.selections ?? []).flatMap((it) =>
        it.kind === Kind.INLINE_FRAGMENT && it.typeCondition?.name.value === __typename
          ? it.selectionSet.selections
          : [],
      )
      const named = keys.flatMap((it) => (it.kind === Kind.FIELD ? [it.alias ?? it.name] : []))
      const paths = named.map((it) => ['_entities', index, it.value])
      return paths.length > 0 ? paths : [['_entities', index]]
    })
    .slice(0, MAX_HOLES)
}

function rootSelections({ definitions }: DocumentNode) {
  return definitions.flatMap((definition) =>
    definition.kind === Kind.OPERATION_DEFINITION
      ? definition.selectionSet.selections.filter((it) => it.kind === Kind.FIELD)
      : [],
  )
}
