import type { PeerPool, Replica } from '@berth/platform/peers'

/** Whose turn it is; one that was out of reach is passed over for a while, if there are others. */
export type Replicas = {
  readonly count: number
  next(): Replica
  away(replica: Replica): void
}

const AWAY_MS = 1_000

export function createReplicas({ replicas }: Pick<PeerPool, 'replicas'>): Replicas {
  const [first] = replicas
  if (!first) throw new TypeError('a service without replicas')
  const count = replicas.length
  const awayUntil = new Map<Replica, number>()
  let turn = 0

  return {
    count,
    next() {
      if (count === 1) return first
      for (let i = 0; i < count; i++) {
        const replica = replicas[turn++ % count] ?? first
        if (awayUntil.size === 0 || !isAway(replica)) return replica
      }
      return replicas[turn++ % count] ?? first
    },
    away(replica) {
      if (count > 1) awayUntil.set(replica, performance.now() + AWAY_MS)
    },
  }

  function isAway(replica: Replica): boolean {
    const until = awayUntil.get(replica)
    if (until === undefined) return false
    if (performance.now() < until) return true
    awayUntil.delete(replica)
    return false
  }
}
