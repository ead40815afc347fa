import { ERROR_CODES, isErrorCode, toHttp } from '@berth/platform/errors'
import { encodeServerFrame } from './protocol.ts'

/**
 * What a client is told of anything thrown: the error frame, and the code that closes the
 * connection. Unexpected errors are masked; whoever catches them logs them.
 */
export function failure(error: unknown, requestId: string): { frame: Uint8Array; close: number } {
  const { code, ...told } = toHttp(error, requestId).body.error
  return {
    frame: encodeServerFrame({ type: 'error', code, ...told }),
    close: ERROR_CODES[isErrorCode(code) ? code : 'INTERNAL'].close,
  }
}
