import { within } from './abort.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { type Hints, policyInvalidateChannel, revocationChannel } from './pubsub.ts'

/**
 * What a change of authority concerns. Whoever depends on it finds out again who asks and what they
 * may do: a concern says that something changed, and not what.
 *
 * `id` is the person's or the organization's id, the credential's as in `actor.credential`, the `kid` or
 * thumbprint of a key that signs tokens (or `refresh:…`: all are fetched anew), the key of a policy,
 * with `.org_…` when it changed in one organization (`*`: any of them, anywhere); '' for everyone.
 */
export type Concern = {
  readonly kind: 'person' | 'organization' | 'credential' | 'signing-key' | 'policy' | 'everyone'
  readonly id: string
}

/** The concerns after a version, oldest first; they are numbered without a gap. */
export type RevocationPage = {
  /** That of the last concern told here, or the one asked for when there is none. */
  readonly version: number
  readonly concerns: readonly Concern[]
  /** False when some that came after the one asked for can no longer be told. */
  readonly isComplete: boolean
}

export type Revocations = Disposable & {
  /**
   * Tells of every concern at least once, in their order, within about `pollMs` when a message was
   * lost. Of everyone, when it cannot be known whom a change concerned.
   *
   * @returns what ends it
   */
  subscribe(listener: (concern: Concern) => void): () => void
  /**
   * Everything that was committed before this moment has been told, in milliseconds of the clock;
   * -Infinity before the first answer.
   */
  readonly completeAt: number
}

const EVERYONE: Concern = { kind: 'everyone', id: '' }
const READ_TIMEOUT_MS = 1_000

/**
 * Follows the changes of authority: messages over Redis as they come, and what they lost by asking
 * the owner after the last known version, every `pollMs` at the latest. Begins with everyone, since
 * nothing is known of what was before.
 *
 * @param read the command `revocations.read` of policy; null for the latest version alone
 */
export function createRevocations({
  hints,
  read,
  log,
  metrics,
  pollMs = 1_000,
  clock = systemClock,
}: {
  hints: Pick<Hints, 'subscribe'>
  read: (after: number | null) => Promise<RevocationPage>
  log: Log
  metrics: Metrics
  pollMs?: number
  clock?: Clock
}): Revocations {
  const age = metrics.gauge(
    'berth_revocations_age_seconds',
    'Since changes of authority were last known to be complete',
  )
  const told = metrics.counter(
    'berth_revocations_total',
    'Concerns told, by how they were learnt: poll stands for a lost message',
    ['by'],
  )
  const listeners = new Set<(concern: Concern) => void>()
  let after: number | null = null
  const startedAt = clock.now().getTime()
  let completeAt = Number.NEGATIVE_INFINITY
  let isReading = false
  let isStale = false
  let isFailing = false
  let isEnded = false
  let timer: NodeJS.Timeout | undefined

  const endings = [
    hints.subscribe(revocationChannel(), (text) => {
      const page = text === null ? null : parseRevocationMessage(text)
      if (!page || !take(page)) void catchUp()
    }),
    hints.subscribe(policyInvalidateChannel('*'), (_text, from) => {
      tell({ kind: 'policy', id: from === null ? '*' : from.slice(POLICY_PREFIX.length) })
    }),
  ]
  void catchUp()

  return {
    subscribe(listener) {
      // Wrapped, so that the same function may listen twice.
      const own = (concern: Concern) => listener(concern)
      listeners.add(own)
      return () => void listeners.delete(own)
    },
    get completeAt() {
      return completeAt
    },
    [Symbol.dispose]() {
      isEnded = true
      clearTimeout(timer)
      for (const end of endings) end()
    },
  }

  /** @returns whether the message said all that came after what is known */
  function take({ after: from, version, concerns }: RevocationMessage): boolean {
    if (after === null || from > after) return false
    if (version <= after) return true
    if (concerns.length !== version - from) return false
    tellAll(concerns.slice(after - from), version, 'message')
    return true
  }

  /** One read at a time, and one more when something was heard meanwhile. */
  async function catchUp(): Promise<void> {
    if (isReading) {
      isStale = true
      return
    }
    isReading = true
    clearTimeout(timer)
    try {
      do isStale = false
      while ((await readOn()) || isStale)
    } catch (error) {
      if (!isFailing && !isEnded) log.warn({ err: error }, 'changes of authority cannot be read')
      isFailing = true
    }
    isReading = false
    age.set((clock.now().getTime() - Math.max(startedAt, completeAt)) / 1_000)
    // Jittered: many gateways must not ask at the same moment for ever.
    if (!isEnded) timer = setTimeout(() => void catchUp(), pollMs * (0.6 + 0.4 * Math.random()))
  }

  /** @returns whether there may be more */
  async function readOn(): Promise<boolean> {
    const asked = after
    const askedAt = clock.now().getTime()
    const { version, concerns, isComplete } = await within(
      READ_TIMEOUT_MS,
      read(asked),
      `no answer within ${READ_TIMEOUT_MS} ms`,
    )
    if (isEnded) return false
    if (isFailing) log.info('changes of authority can be read again')
    isFailing = false
    // Backwards: its database was restored, and what was told since is told again under new numbers.
    if (asked === null || !isComplete || version < asked) {
      if (asked !== null)
        log.warn({ asked, version }, 'changes of authority were lost: of everyone')
      tellAll([EVERYONE], version, asked === null ? 'start' : 'reset')
      completeAt = askedAt
      return false
    }
    // Messages may have told some of these while they were read.
    const known = after ?? asked
    if (version > known) tellAll(concerns.slice(known - asked), version, 'poll')
    // A page may be full: only one that tells nothing says that there is no more.
    if (concerns.length === 0) completeAt = askedAt
    return concerns.length > 0
  }

  function tellAll(concerns: readonly Concern[], version: number, by: string): void {
    after = version
    told.inc({ by }, concerns.length)
    for (const concern of concerns) tell(concern)
  }

  function tell(concern: Concern): void {
    for (const listener of listeners) {
      try {
        listener(concern)
      } catch (error) {
        log.error({ err: error, concern }, 'a listener failed on a change of authority')
      }
    }
  }
}

const POLICY_PREFIX = policyInvalidateChannel('*').slice(0, -1)

/** The concerns of the versions `after + 1` to `version`. */
export type RevocationMessage = {
  readonly after: number
  readonly version: number
  readonly concerns: readonly Concern[]
}

/** As it is published on `revocationChannel()`. */
export function revocationMessage(message: RevocationMessage): string {
  return JSON.stringify(message)
}

/** Null for what is none: it then says no more than that there may be something to read. */
function parseRevocationMessage(text: string): RevocationMessage | null {
  try {
    const { after, version, concerns } = JSON.parse(text) as RevocationMessage
    const isOne =
      Number.isSafeInteger(after) &&
      Number.isSafeInteger(version) &&
      Array.isArray(concerns) &&
      concerns.every(isConcern)
    return isOne ? { after, version, concerns } : null
  } catch {
    return null
  }
}

const KINDS = new Set(['person', 'organization', 'credential', 'signing-key', 'policy', 'everyone'])

function isConcern(value: unknown): value is Concern {
  if (typeof value !== 'object' || value === null) return false
  const { kind, id } = value as { kind?: unknown; id?: unknown }
  return typeof kind === 'string' && KINDS.has(kind) && typeof id === 'string'
}
