import type { Log } from '@berth/platform/log'
import type { Credentials } from '../federation/credentials.ts'
import type { FeedSources } from './feed.ts'
import type { Group } from './group.ts'
import { authorizer, type Operation, type Trace } from './operation.ts'
import type { Backoff } from './patience.ts'
import { openSource, type Source } from './source.ts'
import { createTurns, type Turns } from './turns.ts'
import type { Upstreams } from './upstreams.ts'

export type Opening = {
  /** Where to start; null: with the next event. */
  readonly after: string | null
  readonly trace: Trace
  /** Who waits for it was served before: it is waited for however long it takes. */
  readonly isAccepted: boolean
}

/** What a group hears: a source that it may share, and its own while it does not keep up. */
export type Part = FeedSources & { readonly trace: Trace }

type Sharing = {
  readonly source: Source
  readonly trace: Trace
  readonly groups: Set<Group>
}

/** All sources that are open. */
export type Sources = {
  /** @param vouch for whom; null while nobody who may ask waits for it */
  open(operation: Operation, of: Opening & { vouch: () => Credentials | null }): Source
  /**
   * One of a group, which may be open already for another that asks the same of the owner.
   *
   * @param of.key under which it is kept where it is shared with nobody; '' where it may be
   */
  share(group: Group, of: Opening & { key: string }): Part
  /** In which backlogs are read of one subgraph. */
  turnsOf(service: string): Turns
  /** What actors may see has changed: every one is subscribed to anew from its position. */
  reopen(): void
}

const REOPEN_WITHIN_MS = 500

export function createSources({
  upstreams,
  backoff,
  maxCatchUps,
  log,
}: {
  upstreams: Upstreams
  backoff: Backoff
  maxCatchUps: number
  log: Log
}): Sources {
  const sources = new Set<Source>()
  const shared = new Map<string, Sharing>()
  const turns = new Map<string, Turns>()

  return {
    open: (operation, of) => open(operation, of, () => undefined),
    share(group, of) {
      const { operation, credentials } = group
      const key = of.key || JSON.stringify([operation.sourceKey, credentials.sharingKey])
      let part = shared.get(key) ?? openFor(group, key, of)
      shared.set(key, part)
      part.groups.add(group)
      const { source: first, trace } = part
      return {
        first,
        trace,
        left: () => void part.groups.delete(group),
        resume(after) {
          part = openFor(group, key, { after, trace, isAccepted: true })
          return part.source
        },
        rejoin(position, before) {
          const others = shared.get(key)
          if (!others) {
            shared.set(key, part)
            return part.source
          }
          const { source, groups } = others
          const isThere = source.position === position || source.position === before
          if (!isThere || source.position === null || source.failures > 0) return null
          groups.add(group)
          part = others
          return source
        },
      }
    },
    turnsOf(service) {
      const known = turns.get(service)
      if (known) return known
      const made = createTurns(maxCatchUps)
      turns.set(service, made)
      return made
    },
    reopen() {
      for (const source of sources) source.reopen(REOPEN_WITHIN_MS)
    },
  }

  /** Of this group alone, until others are let join it. */
  function openFor(group: Group, key: string, of: Opening): Sharing {
    const groups = new Set([group])
    const vouch = () => {
      for (const it of groups) if (it.isVouchedFor) return it.credentials
      return null
    }
    const source = open(group.operation, { ...of, vouch }, () => {
      if (shared.get(key) === sharing) shared.delete(key)
    })
    const sharing: Sharing = { source, trace: of.trace, groups }
    return sharing
  }

  function open(
    operation: Operation,
    { after, trace, isAccepted, vouch }: Opening & { vouch: () => Credentials | null },
    onOver: () => void,
  ): Source {
    const { service, durable } = operation.plan
    const source = openSource({
      service,
      durable,
      after,
      isAccepted,
      authorize: authorizer(upstreams, operation, trace, vouch),
      onOver() {
        sources.delete(source)
        onOver()
      },
      log: log.child({ requestId: trace.requestId }),
      backoff,
    })
    sources.add(source)
    return source
  }
}
