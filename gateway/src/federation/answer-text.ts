import { toGraphQLError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { FormattedExecutionResult } from 'graphql'
import type { Answer } from './executor.ts'

/**
 * The text of a whole GraphQL answer, its errors through the one translator. The members come in
 * the order in which Apollo Server writes them.
 */
export function textOf(
  { dataText, errors }: Answer,
  of: { requestId: string; log: Pick<Log, 'error'> },
): string {
  if (errors.length === 0) return `{"data":${dataText ?? 'null'}}`
  const shown = JSON.stringify(errors.map((error) => toGraphQLError(error, of).toJSON()))
  return dataText === undefined ? `{"errors":${shown}}` : `{"errors":${shown},"data":${dataText}}`
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
