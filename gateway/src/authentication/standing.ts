import type { Actor } from '@berth/platform/actor'
import { type Clock, systemClock } from '@berth/platform/clock'
import type { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { Concern, Revocations } from '@berth/platform/revocations'
import type { Actors } from './actors.ts'
import type { Authenticate, Authenticated, Identify, Presented } from './authenticate.ts'
import type { DeniedKeys } from './denied-keys.ts'
import { createDependents, isConcerned } from './dependents.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import { createRechecks } from './rechecks.ts'
import type { Tokens } from './tokens.ts'
import { type Watch, Watched } from './watched.ts'

/** The actor; null while in doubt; the error once they may not ask any more, for good. */
export type Now = Actor | null | DomainError

/**
 * Who a connection's credential stands for, as of now: watched, and found out again when something
 * that it depends on changes.
 */
export type Standing = {
  readonly now: Now
  /**
   * The actor, once out of doubt.
   *
   * @throws {DomainError} why they may not ask any more, or UNAVAILABLE when it cannot be found out
   * now: then `now` stays in doubt, and it is tried again
   */
  actor(): Promise<Actor>
  /**
   * Told of every change of `now`: doubt begins, it is over with the same actor (the same object) or
   * another one, it has ended. Another actor may also come without a doubt before it.
   *
   * @returns what stops it
   */
  watch(listener: (now: Now) => void): () => void
  /** Tells nobody. */
  close(): void
}

export type Standings = {
  /**
   * Who presents this: authenticated, and from then on in the organization that it was found in.
   *
   * @throws {DomainError} as `Authenticate`
   */
  open(presented: Presented, log: Log): Promise<Standing>
}

/**
 * The standings of connections. A concern takes effect in the call that tells of it: the caches let go
 * of whom it concerns, their standings are in doubt, and who they are is asked anew.
 */
export function createStandings({
  authenticate,
  identify,
  actors,
  tokens,
  sessions,
  apiKeys,
  keys,
  denied,
  revocations,
  metrics,
  clock = systemClock,
}: {
  authenticate: Authenticate
  identify: Identify
  actors: Pick<Actors, 'evict'>
  tokens: Pick<Tokens, 'evict'>
  sessions?: { evict(concern: Concern): void } | undefined
  apiKeys?: { evict(concern: Concern): void } | undefined
  /** Of the issuer: one that it has withdrawn is as good as denied. */
  keys?: Pick<IssuerKeys, 'onWithdrawn'> | undefined
  denied?: Pick<DeniedKeys, 'evict'> | undefined
  revocations: Pick<Revocations, 'subscribe'>
  metrics: Metrics
  clock?: Clock
}): Standings & Disposable {
  const open = metrics.gauge('berth_standings', 'Connections whose authority is watched')
  const doubts = metrics.gauge('berth_standings_in_doubt', 'Of which being found out again')
  const checks = metrics.counter('berth_standing_checks_total', 'Found out again, by outcome', [
    'outcome',
  ])
  const watch: Watch = {
    dependents: createDependents<Watched>(),
    rechecks: createRechecks<Watched, Authenticated>({
      ask: identify,
      settle: (watched, outcome) => watched.settle(outcome),
    }),
    clock,
    onOpened: () => open.inc(),
    onEnded: () => open.dec(),
    onDoubt: (change) => doubts.inc(change),
    onChecked: (outcome) => checks.inc({ outcome }),
  }
  const opening = new Set<Concern[]>()

  const endings = [
    revocations.subscribe(take),
    keys?.onWithdrawn((id) => take({ kind: 'signing-key', id })),
  ]

  function take(concern: Concern): void {
    // First: the others ask by it.
    denied?.evict(concern)
    actors.evict(concern)
    tokens.evict(concern)
    sessions?.evict(concern)
    apiKeys?.evict(concern)
    for (const heard of opening) heard.push(concern)
    for (const watched of watch.dependents.of(concern)) watched.doubt()
  }

  return {
    async open(presented, log) {
      // What is told while the answer is on its way may not be in it.
      const heard: Concern[] = []
      opening.add(heard)
      try {
        const authenticated = await authenticate(presented, log)
        const watched = new Watched(watch, settledBy(presented, authenticated), authenticated, log)
        if (heard.some((concern) => isConcerned(watched.on, concern))) watched.doubt()
        return watched
      } finally {
        opening.delete(heard)
      }
    },
    [Symbol.dispose]() {
      for (const end of endings) end?.()
    },
  }
}

/** The same organization from then on, though the person may by now have another first one. */
function settledBy(presented: Presented, { actor }: Authenticated): Presented {
  const followUp = { ...presented, isFollowUp: true }
  if (presented.organizationId !== undefined || actor.organizationId === null) return followUp
  return { ...followUp, organizationId: actor.organizationId }
}
