import type { Sql } from '@berth/platform/database'
import type { Anchor } from '../domain/audit-anchor.ts'
import { type Head, type Link, WHOLE } from '../domain/audit-chain.ts'
import { type Break, createChainCheck } from '../domain/audit-check.ts'
import { type PublicKeys, readCheckpoint } from '../domain/audit-checkpoint.ts'
import * as store from '../store/audit-trail.ts'

export type Verdict = {
  readonly domain: string
  /** How many were read. */
  readonly links: number
  /** Up to where they are signed. */
  readonly signed: number
  readonly breaks: readonly Break[]
}

export type Verification = {
  sql: Sql
  keys: PublicKeys
  /** What is known from elsewhere, and may be in none of the tables any more. */
  anchors?: readonly Anchor[]
  now: Date
}

const PAGE = 1_000
/** Policy signs within a minute of an entry's arrival: this is for what waits to arrive. */
const UNSIGNED_MINUTES = 15

/** Reads the whole trail, domain after domain, and says where it cannot have come about by appending. */
export async function verifyAudit(options: Verification): Promise<Verdict[]> {
  const { anchors = [] } = options
  const known = await options.sql.query<{ domain: string }>(
    `SELECT domain FROM audit_heads UNION SELECT domain FROM audit_checkpoints
     UNION SELECT domain FROM audit_trail`,
  )
  const named = anchors.map(({ domain }) => domain)
  const domains = [...new Set([...known.map(({ domain }) => domain), ...named])].sort()
  const verdicts: Verdict[] = []
  for (const domain of domains) {
    const own = anchors.filter((it) => it.domain === domain)
    verdicts.push(await verifyDomain(domain, own, options))
  }
  return verdicts
}

type Claim = Head & { readonly trail: string; readonly by: string }

async function verifyDomain(
  domain: string,
  anchors: readonly Anchor[],
  { sql, keys, now }: Verification,
): Promise<Verdict> {
  const breaks: Break[] = []
  const given: Claim[] = anchors.map((it) => ({ ...it, by: 'the checkpoint that was kept' }))
  // Read before the links: those that come meanwhile follow after them.
  for (const [trail, head] of await store.readHeads(sql, domain, null)) {
    given.push({ ...head, trail, by: 'the head' })
  }
  for (const it of await store.latestCheckpoints(sql, domain, null)) {
    const said = readCheckpoint(it.statement, keys)
    given.push({ ...it, hash: said?.hash ?? null, by: 'the latest checkpoint' })
  }
  const claims = Map.groupBy(given, ({ trail, position }) => `${trail} ${position}`)
  const check = createChainCheck(domain)
  let count = 0
  let signed = 0
  let after = 0
  let unsignedSince: string | null = null

  for (;;) {
    const links = await store.readLinks(sql, domain, after, PAGE)
    const checkpoints = await store.checkpointsAt(sql, domain, links.flatMap(placesOf))
    const signedAt = Map.groupBy(checkpoints, ({ trail, position }) => `${trail} ${position}`)
    for (const link of links) {
      breaks.push(...check.add(link))
      unsignedSince ??= link.fields.at
      for (const { trail, position, hash } of placesOf(link)) {
        const at = { domain, trail, position }
        const key = `${trail} ${position}`
        for (const { by, hash: claimed } of claims.get(key) ?? []) {
          if (by === 'the latest checkpoint' || claimed === hash) continue
          breaks.push({ ...at, what: `${by} is of another hash: what leads to it was rewritten` })
        }
        for (const { statement } of signedAt.get(key) ?? []) {
          const what = problemOf(statement, { ...at, hash }, keys)
          if (what) breaks.push({ ...at, what })
          else if (trail === WHOLE) {
            signed = position
            unsignedSince = null
          }
        }
      }
    }
    count += links.length
    after = links.at(-1)?.position ?? after
    if (links.length < PAGE) break
  }

  for (const { trail, position, by } of given) {
    const seen = check.heads.get(trail)?.position ?? 0
    if (position <= seen) continue
    breaks.push({
      domain,
      trail,
      position,
      what: `${seen + 1} to ${position} are gone: ${by} names them`,
    })
  }
  const isLate = unsignedSince !== null && minutesBetween(unsignedSince, now) > UNSIGNED_MINUTES
  if (isLate) {
    const what = `what follows ${signed} is not signed: unless policy has just begun to run, its checkpoints were removed`
    breaks.push({ domain, trail: WHOLE, position: signed + 1, what })
  }
  return { domain, links: count, signed, breaks }
}

function placesOf({ trail, trailPosition, entryHash, position, hash }: Link) {
  return [
    { trail: WHOLE, position, hash },
    { trail, position: trailPosition, hash: entryHash },
  ]
}

function problemOf(
  statement: string,
  at: { domain: string; trail: string; position: number; hash: string },
  keys: PublicKeys,
): string | null {
  const said = readCheckpoint(statement, keys)
  if (
    !said ||
    said.domain !== at.domain ||
    said.trail !== at.trail ||
    said.position !== at.position
  ) {
    return `the checkpoint at ${at.position} is not signed by policy`
  }
  if (said.hash === at.hash) return null
  return `up to ${at.position} it is not what was signed at ${said.at}: it was rewritten`
}

function minutesBetween(since: string, now: Date): number {
  return (now.getTime() - new Date(since).getTime()) / 60_000
}
