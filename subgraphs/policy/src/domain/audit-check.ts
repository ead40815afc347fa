import {
  BEGINNING,
  type Entry,
  entryHash,
  type Head,
  type Link,
  linkHash,
  WHOLE,
} from './audit-chain.ts'

/** Something that cannot have come about by appending. */
export type Break = {
  readonly domain: string
  /** `*` is the domain's chain. */
  readonly trail: string
  /** Where it shows. */
  readonly position: number
  /** For people. */
  readonly what: string
}

/**
 * Checks the entries of one trail after another, each in its order.
 *
 * @param from where the entries begin, by trail; at the beginning unless said
 * @returns a function to give them to: the breaks that each one shows. Each break is told once: what
 *   follows is checked against what stands there.
 */
export function createTrailCheck(from: ReadonlyMap<string, Head> = new Map()) {
  const heads = new Map(from)
  return {
    heads,
    add(entry: Entry): Break[] {
      const { domain, trail, trailPosition: position } = entry
      const at = { domain, trail, position }
      const head = heads.get(trail) ?? BEGINNING
      const breaks = missing(at, head)
      const before = breaks.length > 0 ? null : head
      if (before && entryHash(entry, before) !== entry.entryHash) {
        breaks.push({
          ...at,
          what: `entry ${entry.fields.id} was changed, or is not the one that came after the entry before it`,
        })
      }
      heads.set(trail, { position, hash: entry.entryHash })
      return breaks
    },
  }
}

/** The same of a domain's chain, with the trails in it. */
export function createChainCheck(domain: string, from: ReadonlyMap<string, Head> = new Map()) {
  const trails = createTrailCheck(from)
  const { heads } = trails
  return {
    heads,
    add(link: Link): Break[] {
      const { position, hash } = link
      const at = { domain, trail: WHOLE, position }
      const head = heads.get(WHOLE) ?? BEGINNING
      const breaks = missing(at, head)
      if (breaks.length === 0 && linkHash(domain, link.entryHash, head) !== hash) {
        breaks.push({ ...at, what: `link ${position} does not follow the one before it` })
      }
      heads.set(WHOLE, { position, hash })
      return [...breaks, ...trails.add(link)]
    },
  }
}

function missing(at: Omit<Break, 'what'>, head: Head): Break[] {
  const expected = head.position + 1
  if (at.position === expected) return []
  const what =
    at.position > expected
      ? `${expected} to ${at.position - 1} are missing`
      : `position ${at.position} comes again after ${head.position}`
  return [{ ...at, what }]
}
