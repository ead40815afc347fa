/**
 * Of Postgres (Appendix A of its manual, classes 08, 53 and 57): no connection, too many of them,
 * shutting down, starting up. And of the system: nobody there, or gone in the middle.
 */
const CODES =
  /^(08\w{3}|53300|57P0[1-3]|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|P1001|P1002|P1017)$/

const MAX_DEPTH = 6

/**
 * Whether a server that this process depends on is away, as opposed to having answered with an
 * error: what failed may succeed once it is back. Looks into causes, and into what Prisma wraps.
 */
export function isOutage(error: unknown): boolean {
  let current = error
  for (let depth = 0; depth < MAX_DEPTH && current instanceof Object; depth++) {
    const { code, message, cause, meta } = current as Record<string, unknown>
    if (typeof code === 'string' && CODES.test(code)) return true
    if (typeof message === 'string' && /^Connection terminated\b/.test(message)) return true
    current = cause ?? (meta as Record<string, unknown> | undefined)?.driverAdapterError
  }
  return false
}
