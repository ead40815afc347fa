import { DomainError, type ErrorCode } from '../errors.ts'

/** How an SSH connection or command failed. */
export type SshFailure = keyof typeof FAILURES

/** A node failed at SSH; `failure` is for the caller's decision, the message for people. */
export class SshError extends DomainError {
  readonly failure: SshFailure

  constructor(failure: SshFailure, cause?: unknown) {
    const [code, message] = FAILURES[failure]
    super(code, message, { cause })
    this.failure = failure
  }
}

const FAILURES = {
  HOST_KEY_CHANGED: failure(
    'UPSTREAM_UNAVAILABLE',
    'The node presents another host key than the one it was enrolled with: an operator must look.',
  ),
  REFUSED: failure('UPSTREAM_UNAVAILABLE', 'The node does not accept our certificate.'),
  TIMEOUT: failure('TIMEOUT', 'The node did not answer in time.'),
  CLOSED: failure('UPSTREAM_UNAVAILABLE', 'The node ended the connection.'),
  OUTPUT_TOO_LARGE: failure('UPSTREAM_UNAVAILABLE', 'The node answered more than expected.'),
} as const

function failure(code: ErrorCode, message: string): readonly [ErrorCode, string] {
  return [code, message]
}
