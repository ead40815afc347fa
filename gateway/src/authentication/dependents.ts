import type { Actor } from '@berth/platform/actor'
import { subjectOf } from '@berth/platform/actor'
import type { Concern } from '@berth/platform/revocations'

/** What who-asks depends on, each null or empty where it depends on none. */
export type Dependence = {
  readonly person: string | null
  readonly organization: string | null
  readonly credential: string | null
  /** What the key that signed it is known by. */
  readonly signingKeys: readonly string[]
}

/** Things by what they depend on: a concern finds those that it concerns without looking at others. */
export type Dependents<T> = {
  add(item: T, on: Dependence): void
  delete(item: T, on: Dependence): void
  /** Those that a concern is about: a copy, which may be changed from while it is gone through. */
  of(concern: Concern): T[]
}

export function createDependents<T>(): Dependents<T> {
  const all = new Set<T>()
  const by = {
    person: new Map<string, T | Set<T>>(),
    organization: new Map<string, T | Set<T>>(),
    credential: new Map<string, T | Set<T>>(),
    'signing-key': new Map<string, T | Set<T>>(),
  }
  return {
    add(item, on) {
      all.add(item)
      put(by.person, on.person, item)
      put(by.organization, on.organization, item)
      put(by.credential, on.credential, item)
      for (const id of on.signingKeys) put(by['signing-key'], id, item)
    },
    delete(item, on) {
      all.delete(item)
      take(by.person, on.person, item)
      take(by.organization, on.organization, item)
      take(by.credential, on.credential, item)
      for (const id of on.signingKeys) take(by['signing-key'], id, item)
    },
    of({ kind, id }) {
      if (kind === 'everyone') return [...all]
      if (kind === 'policy') return []
      const found = by[kind].get(id)
      if (found === undefined) return []
      return found instanceof Set ? [...found] : [found]
    },
  }
}

/** Of somebody's credential that no key has signed. */
export const UNSIGNED: readonly string[] = Object.freeze([])

/** Of an actor whose credential was signed by a key that is known by these ids. */
export function dependenceOf(actor: Actor, signingKeys: readonly string[]): Dependence {
  return {
    person: subjectOf(actor),
    organization: actor.organizationId,
    credential: actor.credential ?? null,
    signingKeys,
  }
}

/** Whether somebody who depends on this is concerned. */
export function isConcerned(on: Dependence, { kind, id }: Concern): boolean {
  switch (kind) {
    case 'everyone':
      return true
    case 'policy':
      return false
    case 'signing-key':
      return on.signingKeys.includes(id)
    default:
      return on[kind] === id
  }
}

// Most have one connection: a set for each would cost more than all else that is kept of them.
function put<T>(map: Map<string, T | Set<T>>, key: string | null, item: T): void {
  if (key === null) return
  const found = map.get(key)
  if (found === undefined) map.set(key, item)
  else if (found instanceof Set) found.add(item)
  else if (found !== item) map.set(key, new Set([found, item]))
}

function take<T>(map: Map<string, T | Set<T>>, key: string | null, item: T): void {
  if (key === null) return
  const found = map.get(key)
  if (found instanceof Set) {
    found.delete(item)
    if (found.size === 0) map.delete(key)
  } else if (found === item) map.delete(key)
}
