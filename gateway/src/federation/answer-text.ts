import { toGraphQLError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { type FormattedExecutionResult, GraphQLError, type GraphQLFormattedError } from 'graphql'
import { type Answer, LeftOut, MAX_ERRORS } from './answers.ts'

/**
 * The text of a whole GraphQL answer, its errors through the one translator. The members come in
 * the order in which Apollo Server writes them.
 */
export function textOf(
  { dataText, errors }: Answer,
  of: { requestId: string; log: Pick<Log, 'error'> },
  extensions?: AnswerExtensions,
): string {
  const after = extensions ? `,"extensions":${JSON.stringify(extensions)}` : ''
  if (errors.length === 0) return `{"data":${dataText ?? 'null'}${after}}`
  const shown = JSON.stringify(shownErrors(errors, of))
  return dataText === undefined
    ? `{"errors":${shown}}`
    : `{"errors":${shown},"data":${dataText}${after}}`
}

export type AnswerExtensions = { readonly cost: { readonly static: number } }

/** What an answer says beside its data: nothing, unless its client has asked for it. */
export function extensionsOf(
  cost: number,
  { reportsCost }: { readonly reportsCost?: boolean },
): AnswerExtensions | undefined {
  return reportsCost ? { cost: { static: cost } } : undefined
}

/**
 * The errors of one answer as clients see them: no more than `MAX_ERRORS`, the others as one. Faults
 * among them are one line of the log, whatever their number: the first, and how many there are.
 */
export function shownErrors(
  errors: readonly unknown[],
  { requestId, log }: { requestId: string; log: Pick<Log, 'error'> },
): GraphQLFormattedError[] {
  let faults = 0
  let first: object = {}
  const counting = {
    error(fields: object) {
      if (faults++ === 0) first = fields
    },
  } as Pick<Log, 'error'>
  const shown: GraphQLFormattedError[] = []
  let leftOut = 0
  for (const error of errors) {
    const many = leftOutIn(error)
    if (many > 0) leftOut += many
    else if (shown.length >= MAX_ERRORS) leftOut++
    else shown.push(toGraphQLError(error, { requestId, log: counting }).toJSON())
  }
  if (leftOut > 0) {
    shown.push(toGraphQLError(new LeftOut(leftOut), { requestId, log }).toJSON())
  }
  if (faults === 1 && leftOut === 0) log.error(first, 'unexpected error')
  else if (faults > 0) log.error({ ...first, faults, leftOut }, 'unexpected errors')
  return shown
}

function leftOutIn(error: unknown): number {
  let root = error
  while (root instanceof GraphQLError) root = root.originalError
  return root instanceof LeftOut ? root.count : 0
}

/**
 * `data` that is already JSON text, for a server that passes results on as objects. Whoever does not
 * know it still gets the data, by `toJSON`.
 */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toJSON(): unknown {
    return JSON.parse(this.text)
  }
}

/** What Apollo Server's `stringifyResult` is to be: as JSON.stringify, without reading `data` again. */
export function stringifyAnswer(result: FormattedExecutionResult): string {
  const data: unknown = result.data
  if (!(data instanceof JsonText)) return JSON.stringify(result)
  const { errors, extensions } = result
  const before = errors && errors.length > 0 ? `"errors":${JSON.stringify(errors)},` : ''
  const after = extensions ? `,"extensions":${JSON.stringify(extensions)}` : ''
  return `{${before}"data":${data.text}${after}}`
}
