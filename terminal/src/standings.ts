import { createActor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { isId, newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { Concern, Revocations } from '@berth/platform/revocations'
import type { TerminalToken } from '@berth/schema/commands/allocations'
import { readStanding } from '@berth/schema/commands/policy'

/** Whether whoever has a shell may go on: watched, and found out again when something changes. */
export type Standings = Disposable & {
  /**
   * Finds it out, and watches it from then on.
   *
   * @throws {DomainError} UNAUTHENTICATED, FORBIDDEN when they may not; UPSTREAM_UNAVAILABLE when it
   *   cannot be found out
   */
  open(holder: Holder): Promise<Standing>
}

/** Settles with why they may not go on, if ever; disposed when the shell is over. */
export type Standing = Disposable & { readonly revoked: Promise<DomainError> }

export type Holder = Pick<TerminalToken, 'userId' | 'organizationId' | 'credential'>

const ACTION = 'terminal:open'
/** How long a shell goes on in doubt. */
const DOUBT_MS = 30_000
/** Without word of what has changed everybody is in doubt: as long as the gateway waits. */
const SILENCE_MS = 60_000
const TICK_MS = 5_000
const RETRY_MS = 1_000
const ASK_MS = 1_000
/** How long ago at most somebody asked for the shell that is opened now. */
const TERMINAL_TOKEN_MS = 60_000
/** Questions at once: a change that concerns all must not be a storm upon policy. */
const CONCURRENT = 16

type Entry = Holder & {
  readonly end: (error: DomainError) => void
  /** How often it came into doubt: an answer to an earlier question does not dispel a later one. */
  doubts: number
  deadline: NodeJS.Timeout | undefined
  retry: NodeJS.Timeout | undefined
}

/** Follows the feed of changes of authority: whom one concerns is asked for again, and nobody else. */
export function createStandings({
  commands,
  policy,
  revocations,
  log,
  metrics,
  clock = systemClock,
}: {
  commands: Pick<CommandClient, 'call'>
  policy: Pick<PolicyClient, 'can'>
  revocations: Pick<Revocations, 'subscribe' | 'completeAt'>
  log: Log
  metrics: Metrics
  clock?: Clock
}): Standings {
  const entries = new Set<Entry>()
  const waiting = new Set<Entry>()
  let running = 0
  const startedAt = clock.now().getTime()
  let keyDeniedAt = Number.NEGATIVE_INFINITY
  const checks = metrics.counter('berth_terminal_standing_checks_total', 'By outcome', ['outcome'])

  const unsubscribe = revocations.subscribe((concern) => {
    if (isKeyDenied(concern)) {
      keyDeniedAt = clock.now().getTime()
      for (const entry of entries) if (isSigned(entry)) entry.end(new Refused(...KEY_DENIED))
    }
    for (const entry of entries) if (isConcerned(entry, concern)) doubt(entry)
  })
  const tick = setInterval(() => {
    const heardAt = Math.max(startedAt, revocations.completeAt)
    if (clock.now().getTime() - heardAt < SILENCE_MS) return
    for (const entry of entries) if (entry.deadline === undefined) doubt(entry)
  }, TICK_MS).unref()

  return {
    async open({ userId, organizationId, credential }) {
      const revoked = Promise.withResolvers<DomainError>()
      const end = (error: DomainError) => {
        forget(entry)
        revoked.resolve(error)
      }
      const holder = { userId, organizationId, credential }
      const entry: Entry = { ...holder, end, doubts: 0, deadline: undefined, retry: undefined }
      // Before it is asked: what changes meanwhile may not be in the answer.
      entries.add(entry)
      try {
        const isFresh = clock.now().getTime() - keyDeniedAt > TERMINAL_TOKEN_MS
        if (isSigned(entry) && !isFresh) throw new Refused(...KEY_DENIED)
        await check(entry)
      } catch (error) {
        forget(entry)
        throw error instanceof Refused ? error : unanswered(error)
      }
      return { revoked: revoked.promise, [Symbol.dispose]: () => forget(entry) }
    },
    [Symbol.dispose]() {
      unsubscribe()
      clearInterval(tick)
      for (const entry of entries) forget(entry)
    },
  }

  function doubt(entry: Entry): void {
    entry.doubts++
    entry.deadline ??= deadlineOf(entry)
    waiting.add(entry)
    askNext()
  }

  function deadlineOf(entry: Entry): NodeJS.Timeout {
    return setTimeout(() => {
      checks.inc({ outcome: 'unavailable' })
      entry.end(
        new DomainError('UNAVAILABLE', 'It cannot be found out whether you may go on: try again.'),
      )
    }, DOUBT_MS)
  }

  function askNext(): void {
    while (running < CONCURRENT) {
      const [entry] = waiting
      if (!entry) return
      waiting.delete(entry)
      running++
      void settle(entry).finally(() => {
        running--
        askNext()
      })
    }
  }

  async function settle(entry: Entry): Promise<void> {
    const { doubts } = entry
    clearTimeout(entry.retry)
    try {
      await check(entry)
      checks.inc({ outcome: 'good' })
      if (!entries.has(entry)) return
      clearTimeout(entry.deadline)
      // What is in doubt since then came after the question: it has its own time.
      entry.deadline = entry.doubts === doubts ? undefined : deadlineOf(entry)
    } catch (error) {
      if (!entries.has(entry)) return
      if (error instanceof Refused) {
        checks.inc({ outcome: 'refused' })
        return entry.end(error)
      }
      log.warn({ err: error }, 'whether a terminal session may go on could not be asked')
      // A question that came later may have failed sooner.
      clearTimeout(entry.retry)
      entry.retry = setTimeout(() => {
        waiting.add(entry)
        askNext()
      }, RETRY_MS)
    }
  }

  /** @throws {Refused} when policy says that they may not */
  async function check({ userId, organizationId, credential }: Holder): Promise<void> {
    const { standing, roles } = await commands.call(
      readStanding,
      { userId, organizationId, credential },
      { commandId: newUuid(), timeoutMs: ASK_MS },
    )
    if (standing === 'SIGNED_OUT') {
      throw new Refused('UNAUTHENTICATED', 'You have signed out: sign in, and open a new terminal.')
    }
    const actor = createActor({ kind: 'person', subject: userId, organizationId, roles })
    if (standing === 'GOOD' && (await policy.can(actor, ACTION))) return
    throw new Refused('FORBIDDEN', 'You may not use terminals of this organization any more.')
  }

  function forget(entry: Entry): void {
    entries.delete(entry)
    waiting.delete(entry)
    clearTimeout(entry.deadline)
    clearTimeout(entry.retry)
  }
}

function unanswered(cause: unknown): DomainError {
  const message = 'Whether you may use terminals cannot be found out now: ask for a new token.'
  return new DomainError('UPSTREAM_UNAVAILABLE', message, { cause })
}

/** Said by policy, as opposed to any failure to ask it. */
class Refused extends DomainError {}

const KEY_DENIED: ConstructorParameters<typeof DomainError> = [
  'UNAUTHENTICATED',
  'Tokens are not trusted as before: sign in, and open a new terminal.',
]

/** By which key a token was signed is not known here: those of all are in doubt, and nobody can tell. */
function isKeyDenied({ kind, id }: Concern): boolean {
  return kind === 'signing-key' && !id.startsWith('refresh:')
}

/** Whether they came by a token of the issuer's. */
function isSigned({ credential }: Holder): boolean {
  return credential?.startsWith('jwt:') ?? false
}

function isConcerned(holder: Holder, { kind, id }: Concern): boolean {
  switch (kind) {
    case 'everyone':
      return true
    case 'person':
      return holder.userId === id
    case 'organization':
      return holder.organizationId === id
    case 'credential':
      return holder.credential === id
    case 'policy': {
      // What roles may do, to all or in one organization; that messages were lost says no more than
      // that something may be read.
      const last = id.slice(id.lastIndexOf('.') + 1)
      return id.startsWith('authz.') && (!isId('org', last) || last === holder.organizationId)
    }
    case 'signing-key':
      return false
  }
}
