import type { ErrorCode } from '@berth/platform/errors'
import { GraphQLError } from 'graphql'

/** As a value in the data: its field fails with it, in every world. */
export function failure(code: ErrorCode, message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code } })
}
