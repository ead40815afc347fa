import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import type { Metrics } from '@berth/platform/metrics'
import {
  type Attachment,
  createSession,
  type EndReason,
  type Link,
  type Session,
  type SessionLimits,
  type Shell,
} from './session.ts'

export type SessionsLimits = SessionLimits & {
  /** Sessions of this process, those being opened included. */
  maxSessions: number
  maxSessionsPerUser: number
}

export type Owner = { sessionId: string; userId: string; origin: string | null }

/** A place in the process, held while a session is being opened; disposed when it is not. */
export type Place = Disposable & {
  /** @throws {DomainError} QUOTA_EXCEEDED when the user has as many sessions as one may have */
  claim(owner: Owner): void
  /** Turns the place into a session with its client attached. */
  start(shell: Shell, link: Link): { session: Session; attachment: Attachment }
}

export type Sessions = {
  /** @throws {DomainError} UNAVAILABLE when the process is full, or stopping */
  reserve(): Place
  /**
   * @throws {DomainError} NOT_FOUND when there is no such session, or it is not this client's;
   *   STREAM_RESET when the offset is not kept any more
   */
  resume(
    request: { sessionId: string; secret: string; offset: number | null; origin: string | null },
    link: Link,
  ): Attachment
  /** Ends all sessions, and admits no more. */
  drain(): void
}

const GOING_AWAY = 1_001

type Entry = Owner & { session: Session; secretHash: Buffer }

/** All sessions of this process. */
export function createSessions({
  limits,
  metrics,
}: {
  limits: SessionsLimits
  metrics: Metrics
}): Sessions {
  const entries = new Map<string, Entry>()
  const perUser = new Map<string, number>()
  let held = 0
  let isDraining = false
  const open = metrics.gauge('berth_terminal_sessions', 'Open terminal sessions')
  const shed = metrics.counter('berth_terminal_shed_total', 'Sessions not opened, by why', [
    'reason',
  ])
  const endings = metrics.counter('berth_terminal_ended_total', 'Sessions ended, by why', [
    'reason',
  ])
  const bytes = metrics.counter('berth_terminal_bytes_total', 'Bytes typed and shown', [
    'direction',
  ])

  function reserve(): Place {
    if (isDraining || held >= limits.maxSessions) {
      shed.inc({ reason: isDraining ? 'draining' : 'full' })
      throw unavailable(isDraining ? 'is stopping' : 'is full')
    }
    held++
    let owner: Owner | null = null
    let isStarted = false

    function release(): void {
      held--
      if (!owner) return
      const left = (perUser.get(owner.userId) ?? 1) - 1
      if (left > 0) perUser.set(owner.userId, left)
      else perUser.delete(owner.userId)
    }
    return {
      claim(claimed) {
        const count = perUser.get(claimed.userId) ?? 0
        if (count >= limits.maxSessionsPerUser) {
          shed.inc({ reason: 'user' })
          throw new DomainError(
            'QUOTA_EXCEEDED',
            `You have ${count} terminal sessions open: close one first.`,
          )
        }
        owner = claimed
        perUser.set(claimed.userId, count + 1)
      },
      start(shell, link) {
        if (!owner) throw new Error('a session has an owner')
        if (isDraining) throw unavailable('is stopping')
        isStarted = true
        const secret = randomBytes(32).toString('base64url')
        const session = createSession({
          id: owner.sessionId,
          shell,
          limits,
          count: (direction, count) => bytes.inc({ direction }, count),
        })
        entries.set(session.id, { ...owner, session, secretHash: hash(secret) })
        open.set(entries.size)
        void session.ended.then((reason: EndReason) => {
          entries.delete(session.id)
          open.set(entries.size)
          endings.inc({ reason })
          release()
        })
        return { session, attachment: session.attach(link, { offset: 0, secret }) }
      },
      [Symbol.dispose]() {
        if (!isStarted) release()
      },
    }
  }

  return {
    reserve,
    resume({ sessionId, secret, offset, origin }, link) {
      const entry = entries.get(sessionId)
      const isTheirs =
        entry && timingSafeEqual(entry.secretHash, hash(secret)) && entry.origin === origin
      if (!isTheirs) {
        throw new DomainError('NOT_FOUND', 'There is no such session any more: open a new one.')
      }
      return entry.session.attach(link, { offset })
    },
    drain() {
      isDraining = true
      for (const { session } of entries.values()) {
        session.end('DRAIN', unavailable('is stopping'), GOING_AWAY)
      }
    },
  }
}

function unavailable(why: string): DomainError {
  return new DomainError('UNAVAILABLE', `This terminal server ${why}: connect again shortly.`, {
    retryAfterSeconds: 1,
  })
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
