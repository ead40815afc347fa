import type { Actor } from '@berth/platform/actor'
import type { Clock } from '@berth/platform/clock'
import type { CommandClient } from '@berth/platform/commands'
import { DomainError } from '@berth/platform/errors'
import { type Id, newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Concern } from '@berth/platform/revocations'
import { resolveSession, touchSession } from '@berth/schema/commands/policy'
import { CredentialRefused } from '../authentication/issuer.ts'
import { createPresenter } from '../authentication/presenter.ts'
import type { CachedSession, SessionCache } from './cache.ts'

/** A live session, as this gateway last knew it. */
export type KnownSession = {
  readonly id: Id<'ses'>
  readonly issuer: string
  readonly subject: string
  /** When it ends, however much it is used. */
  readonly expiresAt: Date
  /** Who presents it: the same object for the same person. */
  presentedBy(person: Actor): Actor
}

export type SessionStore = {
  /**
   * The live session of this hash, as of 5 s ago at most unless its end is told sooner.
   *
   * @throws {CredentialRefused} when there is none
   * @throws {DomainError} UNAVAILABLE when neither cache nor policy can tell
   */
  find(tokenHash: string): KnownSession | Promise<KnownSession>
  /** Somebody used it: its idle time begins anew, to about a minute. Returns at once. */
  used(tokenHash: string): void
  /** What is concerned is asked for anew, and so is what is on its way. */
  evict(concern: Concern): void
}

const MAX_AGE_MS = 5_000
const REMEMBERED = 10_000
const TOUCH_MS = 60_000

type Entry = CachedSession & {
  readonly tokenHash: string
  readonly knownAt: number
  readonly presentedBy: (person: Actor) => Actor
  readonly expiry: Date
  touchedAt: number
}

/**
 * Finds sessions: here, else in Redis, else at policy, whose word is the truth. A lost Redis costs
 * time and nothing else.
 *
 * @param onDue is told of a session, found again, whose issuer is to be asked about it
 */
export function createSessionStore({
  commands,
  cache,
  idleSeconds,
  onDue,
  clock,
  log,
  metrics,
}: {
  commands: Pick<CommandClient, 'call'>
  cache: SessionCache
  idleSeconds: number
  onDue: (id: Id<'ses'>) => void
  clock: Clock
  log: Log
  metrics: Metrics
}): SessionStore {
  const lookups = metrics.counter('berth_session_lookups_total', 'Not remembered here, by where', [
    'by',
  ])
  const touchMs = Math.min(TOUCH_MS, (idleSeconds * 1_000) / 4)
  // Found least recently first.
  const entries = new Map<string, Entry>()
  const byId = new Map<string, Entry>()
  const asking = new Map<string, Promise<KnownSession>>()
  const now = () => clock.now().getTime()

  return {
    find(tokenHash) {
      const known = entries.get(tokenHash)
      if (known && now() - known.knownAt < MAX_AGE_MS && isLive(known)) return shown(known)
      return asking.get(tokenHash) ?? askFor(tokenHash)
    },

    used(tokenHash) {
      const entry = entries.get(tokenHash)
      if (!entry || now() - entry.touchedAt < touchMs) return
      entry.touchedAt = now()
      void touch(entry)
    },

    evict(concern) {
      if (concern.kind === 'credential') {
        const entry = byId.get(concern.id)
        if (entry) forget(entry)
        if (!concern.id.startsWith('ses_')) return
      } else if (concern.kind === 'everyone') {
        entries.clear()
        byId.clear()
      } else return
      cache.distrust(concern)
      // Which sessions these are about is not known yet: none of them is joined or kept.
      asking.clear()
    },
  }

  function askFor(tokenHash: string): Promise<KnownSession> {
    const asked: Promise<KnownSession> = ask(tokenHash)
      .then((entry) => {
        if (asking.get(tokenHash) === asked) keep(entry)
        return shown(entry)
      })
      .finally(() => {
        if (asking.get(tokenHash) === asked) asking.delete(tokenHash)
      })
    asking.set(tokenHash, asked)
    return asked
  }

  async function ask(tokenHash: string): Promise<Entry> {
    const knownAt = now()
    const slot = await cache.get(tokenHash)
    // One that was used since, through another gateway, has not been idle for as long as it says here.
    if (slot.session && isLive(slot.session)) {
      lookups.inc({ by: 'redis' })
      return entryOf(tokenHash, slot.session, knownAt)
    }
    lookups.inc({ by: 'policy' })
    const session = await resolve(tokenHash)
    slot.put(session)
    return entryOf(tokenHash, session, knownAt)
  }

  async function resolve(tokenHash: string): Promise<CachedSession> {
    const askedAt = now()
    try {
      const { id, issuer, subject, expiresIn, idleIn, refreshIn } = await commands.call(
        resolveSession,
        { tokenHash },
        { commandId: newUuid() },
      )
      return {
        id,
        issuer,
        subject,
        expiresAt: askedAt + expiresIn * 1_000,
        idleUntil: askedAt + idleIn * 1_000,
        refreshAt: refreshIn === null ? null : askedAt + refreshIn * 1_000,
      }
    } catch (error) {
      throw translated(error)
    }
  }

  async function touch(entry: Entry): Promise<void> {
    try {
      await commands.call(touchSession, { id: entry.id }, { commandId: newUuid() })
    } catch (error) {
      // It was not found to be live any more: whoever asks next is told.
      if (error instanceof DomainError && error.code === 'NOT_FOUND') forget(entry)
      else log.debug({ err: error }, 'a session could not be kept alive')
    }
  }

  function entryOf(tokenHash: string, session: CachedSession, knownAt: number): Entry {
    const before = entries.get(tokenHash)
    const usedAt = session.idleUntil - idleSeconds * 1_000
    if (session.refreshAt !== null && session.refreshAt <= knownAt) onDue(session.id)
    return {
      ...session,
      tokenHash,
      knownAt,
      expiry: before?.expiry ?? new Date(session.expiresAt),
      presentedBy: before?.presentedBy ?? createPresenter(session.id),
      touchedAt: Math.max(before?.touchedAt ?? 0, usedAt),
    }
  }

  function isLive({ expiresAt, idleUntil }: CachedSession): boolean {
    return expiresAt > now() && idleUntil > now()
  }

  function keep(entry: Entry): void {
    const old = entries.get(entry.tokenHash)
    if (old) forget(old)
    entries.set(entry.tokenHash, entry)
    byId.set(entry.id, entry)
    if (entries.size <= REMEMBERED) return
    const oldest = entries.values().next().value
    if (oldest) forget(oldest)
  }

  function forget(entry: Entry): void {
    if (entries.get(entry.tokenHash) === entry) entries.delete(entry.tokenHash)
    if (byId.get(entry.id) === entry) byId.delete(entry.id)
  }
}

function shown({ id, issuer, subject, expiry, presentedBy }: Entry): KnownSession {
  return { id, issuer, subject, expiresAt: expiry, presentedBy }
}

function translated(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error
  switch (error.code) {
    case 'NOT_FOUND':
      return new CredentialRefused('no live session')
    case 'UPSTREAM_UNAVAILABLE':
    case 'UNAVAILABLE':
    case 'TIMEOUT':
      return new DomainError('UNAVAILABLE', 'Sign-in cannot be checked now: try again shortly', {
        cause: error,
        retryAfterSeconds: 2,
      })
    default:
      return new Error('sessions.resolve failed', { cause: error })
  }
}
