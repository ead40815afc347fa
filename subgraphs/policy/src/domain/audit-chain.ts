import { createHash } from 'node:crypto'
import { canonicalJson, type Json } from './canonical-json.ts'

/** What was done, as its domain wrote it. */
export type AuditFields = {
  readonly id: string
  /** RFC 3339 in UTC with milliseconds: the time inside the id. */
  readonly at: string
  readonly actor: Json
  readonly action: string
  readonly target: string
  readonly reason: string | null
  readonly facts: Json
  readonly before: Json
  readonly after: Json
  readonly requestId: string | null
  readonly origin: string | null
}

/** Where a chain or a trail stands: 0 and null before its first. */
export type Head = { readonly position: number; readonly hash: string | null }

/**
 * An entry of a trail: what one organization did, or the platform (`platform`), in one domain. Its hash
 * covers all of it and the entry before it in the same trail, so that whoever has the entries of their
 * own organization can check them, and that none is missing, without those of others.
 */
export type Entry = {
  readonly domain: string
  /** `org_…` or `platform` */
  readonly trail: string
  /** From 1, without a gap. */
  readonly trailPosition: number
  readonly fields: AuditFields
  /** SHA-256, in hexadecimal. */
  readonly entryHash: string
}

/** An entry in its domain's chain, which holds the trails of all organizations together. */
export type Link = Entry & { readonly position: number; readonly hash: string }

export const BEGINNING: Head = { position: 0, hash: null }

/** Name of the chain of a whole domain, among those of its trails. */
export const WHOLE = '*'

/** SHA-256 of the canonical JSON of `{v, domain, trail, position, previous, …fields}`. */
export function entryHash(
  { domain, trail, fields }: Pick<Entry, 'domain' | 'trail' | 'fields'>,
  { position, hash }: Head,
): string {
  return sha256({ v: 1, domain, trail, position: position + 1, previous: hash, ...fields })
}

/** SHA-256 of the canonical JSON of `{v, domain, position, previous, entry}`. */
export function linkHash(domain: string, entry: string, { position, hash }: Head): string {
  return sha256({ v: 1, domain, position: position + 1, previous: hash, entry })
}

/**
 * Gives what arrived its places and hashes.
 *
 * @param heads of the domain's chain (`*`) and of each trail that comes up; moved on
 */
export function seal(
  domain: string,
  arrived: readonly { readonly trail: string; readonly fields: AuditFields }[],
  heads: Map<string, Head>,
): Link[] {
  return arrived.map(({ trail, fields }) => {
    const inTrail = heads.get(trail) ?? BEGINNING
    const inDomain = heads.get(WHOLE) ?? BEGINNING
    const hashOfEntry = entryHash({ domain, trail, fields }, inTrail)
    const link = {
      domain,
      trail,
      fields,
      trailPosition: inTrail.position + 1,
      entryHash: hashOfEntry,
      position: inDomain.position + 1,
      hash: linkHash(domain, hashOfEntry, inDomain),
    }
    heads.set(trail, { position: link.trailPosition, hash: link.entryHash })
    heads.set(WHOLE, { position: link.position, hash: link.hash })
    return link
  })
}

function sha256(value: Json): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}
