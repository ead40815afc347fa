import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { TerminalToken } from '@berth/schema/commands/allocations'
import type { OpenRequest, ResumeRequest } from './protocol.ts'
import type { Attachment, EndReason, Link, Shell } from './session.ts'
import type { Sessions } from './sessions.ts'
import type { Standing, Standings } from './standings.ts'

/** Whoever connects, as the transport saw it. */
export type Client = {
  /** The browser page's Origin, already known to be an allowed one; null without a browser. */
  origin: string | null
  /** Network address, for limits. */
  address: string
  requestId: string
}

export type Terminals = {
  /**
   * Takes the token and opens its shell with the link attached.
   *
   * @throws {DomainError} UNAVAILABLE, RATE_LIMITED: the token is still good; UNAUTHENTICATED,
   *   FORBIDDEN, QUOTA_EXCEEDED, CONFLICT, UPSTREAM_UNAVAILABLE, TIMEOUT: it is spent
   */
  open(request: OpenRequest & { token: string }, client: Client, link: Link): Promise<Attachment>
  /** @throws {DomainError} NOT_FOUND, STREAM_RESET */
  resume(request: ResumeRequest, client: Client, link: Link): Attachment
  /** Ends every session and waits until allocations was told. */
  drain(): Promise<void>
}

/** What the service needs of others. */
export type TerminalsPorts = {
  /** @throws {DomainError} RATE_LIMITED, or UNAVAILABLE when that cannot be known */
  admit(client: Client): Promise<void>
  /** @returns null when the token is unknown or spent; throws when that cannot be known */
  takeToken(token: string): Promise<TerminalToken | null>
  readonly standings: Pick<Standings, 'open'>
  openShell(
    token: TerminalToken,
    terminal: { columns: number; rows: number; term: string },
    requestId: string,
  ): Promise<Shell>
  /** Best effort. */
  tellClosed(token: TerminalToken, reason: EndReason): Promise<void>
}

/** Opens and resumes terminal sessions: in which order what is checked stands here. */
export function createTerminals({
  sessions,
  ports,
  log,
  metrics,
}: {
  sessions: Sessions
  ports: TerminalsPorts
  log: Log
  metrics: Metrics
}): Terminals {
  const opening = metrics.histogram('berth_terminal_open_seconds', 'From token to shell')
  /** What allocations is being told. */
  const telling = new Set<Promise<void>>()

  function tell(token: TerminalToken, reason: EndReason): void {
    const told = ports.tellClosed(token, reason).finally(() => telling.delete(told))
    telling.add(told)
  }

  async function open(
    request: OpenRequest & { token: string },
    client: Client,
    link: Link,
  ): Promise<Attachment> {
    // Before the token is taken, so that it is still good elsewhere or later.
    await ports.admit(client)
    using place = sessions.reserve()
    const token = await take(request.token)
    if (token.origin !== client.origin) {
      throw new DomainError(
        'FORBIDDEN',
        'This token was made for another origin: ask for one from the page that connects.',
      )
    }
    place.claim({ sessionId: token.terminalSessionId, ...token })
    const stop = opening.startTimer()
    let shell: Shell | null = null
    let standing: Standing | null = null
    try {
      standing = await ports.standings.open(token)
      shell = await ports.openShell(token, request, client.requestId)
      const { session, attachment } = place.start(shell, link)
      stop()
      log.info(describe(token, client), 'terminal session opened')
      void standing.revoked.then((error) => session.end('REVOKED', error))
      const watched = standing
      void session.ended.then((reason) => {
        watched[Symbol.dispose]()
        log.info({ ...describe(token, client), reason }, 'terminal session ended')
        tell(token, reason)
      })
      return attachment
    } catch (error) {
      standing?.[Symbol.dispose]()
      shell?.close()
      tell(token, 'ERROR')
      throw error
    }
  }

  async function take(text: string): Promise<TerminalToken> {
    let token: TerminalToken | null
    try {
      token = await ports.takeToken(text)
    } catch (cause) {
      throw new DomainError('UNAVAILABLE', 'Tokens cannot be checked now: connect again shortly.', {
        cause,
        retryAfterSeconds: 1,
      })
    }
    if (token) return token
    throw new DomainError(
      'UNAUTHENTICATED',
      'The token is used, expired or unknown: ask for a new one.',
    )
  }

  return {
    open,
    resume: (request, { origin }, link) => sessions.resume({ ...request, origin }, link),
    async drain() {
      sessions.drain()
      // Sessions end in this turn, and are told of in the next.
      await Promise.resolve()
      await Promise.allSettled(telling)
    },
  }
}

function describe(token: TerminalToken, client: Client) {
  const { terminalSessionId, allocationId, organizationId, userId } = token
  return { terminalSessionId, allocationId, organizationId, userId, requestId: client.requestId }
}
