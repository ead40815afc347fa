import { toGraphQLError } from '@berth/platform/errors'
import {
  buildASTSchema,
  type DocumentNode,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLFormattedError,
  type GraphQLOutputType,
  type GraphQLSchema,
  isListType,
  isNonNullType,
  isObjectType,
  Kind,
  parse,
  printSchema,
  visit,
} from 'graphql'
import { QUIET } from './client.ts'
import type { OpenGraph, State } from './graph.ts'

/** One operation to be run by the oracle and by an executor. */
export type Operation = {
  readonly source: string
  readonly document: DocumentNode
  readonly variables: Readonly<Record<string, unknown>>
}

/** What an operation came to, in whichever world. */
export type Outcome = {
  /** JSON text of `data`; undefined when nothing was run. */
  readonly dataText: string | undefined
  readonly errors: readonly GraphQLFormattedError[]
}

export type Expected = Outcome & {
  /** Each error that any order of execution could meet, also below a null that another one made. */
  readonly possible: ReadonlySet<string>
}

/** What graphql-js answers over one schema that has it all. */
export function createOracle({ monolith }: Pick<OpenGraph, 'monolith'>) {
  const exhaustive = withoutNonNull(monolith)

  return ({ document, variables }: Operation): Expected => {
    const run = (schema: GraphQLSchema) => {
      const contextValue: State = { effects: [], asks: [], pace: 0 }
      return execute({
        schema,
        document,
        variableValues: variables,
        contextValue,
      }) as ExecutionResult
    }
    const { data, errors = [] } = run(monolith)
    const shown = errors.map((it) => shownOf(it))
    const all = shown.length === 0 ? [] : (run(exhaustive).errors ?? [])
    return {
      dataText: data === undefined ? undefined : JSON.stringify(data),
      errors: shown,
      possible: new Set(all.map((it) => textOf(shownOf(it)))),
    }
  }
}

/** The error as a client sees it. */
export function shownOf(error: unknown): GraphQLFormattedError {
  return toGraphQLError(error, QUIET).toJSON()
}

/** What has to be equal of an error. The planner writes literals in its own way: an ID as a number. */
export function textOf({ path, message, extensions }: GraphQLFormattedError): string {
  const told = message.replace(/(?<=has invalid value ).*/s, '…')
  return JSON.stringify([path ?? null, extensions?.code, told])
}

/**
 * The same schema and resolvers, where nothing is non-null, but a null where none may be is still an
 * error: nothing bubbles, so that every error there is comes out.
 */
function withoutNonNull(schema: GraphQLSchema): GraphQLSchema {
  const nullable = buildASTSchema(
    visit(parse(printSchema(schema)), {
      FieldDefinition: (node) => ({
        ...node,
        type: visit(node.type, { [Kind.NON_NULL_TYPE]: { leave: (it) => it.type } }),
      }),
    }),
  )
  for (const type of Object.values(nullable.getTypeMap())) {
    const original = schema.getType(type.name)
    if (!isObjectType(type) || !isObjectType(original) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      const { type: declared, resolve } = original.getFields()[field.name]!
      field.resolve = (...args) => holesAsErrors(resolve?.(...args), declared)
    }
  }
  return nullable
}

function holesAsErrors(value: unknown, type: GraphQLOutputType): unknown {
  if (isNonNullType(type)) {
    return (value ?? null) === null
      ? new GraphQLError('null where none may be')
      : holesAsErrors(value, type.ofType)
  }
  if (isListType(type) && Array.isArray(value)) {
    return value.map((it) => holesAsErrors(it, type.ofType))
  }
  return value
}
