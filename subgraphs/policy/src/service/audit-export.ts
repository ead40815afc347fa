import { type Actor, requireOrganization } from '@berth/platform/actor'
import type { SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idToUuid } from '@berth/platform/ids'
import type { Entry } from '../domain/audit-chain.ts'
import type { PublicKeys } from '../domain/audit-checkpoint.ts'
import { checkpointLine, entryLine } from '../domain/audit-export.ts'
import { domainsOf, positionsWithin } from '../store/audit-events.ts'
import { readCheckpoints, readEntries } from '../store/audit-trail.ts'
import type { AuditTrail } from './audit-trail.ts'

type Range = { from?: Date | null | undefined; to?: Date | null | undefined }

export type AuditExportPage = {
  readonly ndjson: string
  /** Null on an empty trail. */
  readonly endCursor: string | null
  readonly hasNextPage: boolean
  /** JSON Web Key Set. */
  readonly keys: string
}

/**
 * The trail of an organization for those who want to check it themselves: its entries without a gap,
 * domain after domain, each with the hash of the one before it, and signed checkpoints that cover all.
 */
export type AuditExport = {
  /**
   * The page after a cursor. A range of time is widened to where no entry between is left out and a
   * checkpoint covers the last one.
   *
   * @throws {DomainError} BAD_INPUT
   */
  page(actor: Actor, asked: Range & { after?: string | null | undefined }): Promise<AuditExportPage>
}

const PAGE = 500
const PAGE_CHARACTERS = 512 * 1024

export function createAuditExport({
  database: { sql },
  trail,
  keys,
}: {
  database: SqlDatabase
  trail: Pick<AuditTrail, 'checkpoint'>
  keys: PublicKeys
}): AuditExport {
  const keySet = JSON.stringify({ keys: keys.keys.filter(({ kid }) => kid?.startsWith('policy-')) })
  return {
    async page(actor, { after, ...range }) {
      const organization = requireOrganization(actor)
      const organizationId = idToUuid(organization)
      const cursor = after == null ? null : cursorOf(after)
      const domains = await domainsOf(sql, organization)
      for (const { domain, last } of domains) {
        if (cursor && domain < cursor.domain) continue
        const of = { domain, organizationId, organization }
        const within = domain === cursor?.domain ? cursor : await positionsOf(of, last, range)
        const end = within && Math.min(within.last, last)
        const page = end && (await pageOf(of, within.after, end))
        if (!page) continue
        const { isLast, ndjson, position } = page
        const hasNextPage = !isLast || domain !== domains.at(-1)?.domain
        return { ndjson, endCursor: `${domain}/${position}/${end}`, hasNextPage, keys: keySet }
      }
      return { ndjson: '', endCursor: after ?? null, hasNextPage: false, keys: keySet }
    },
  }

  /** Asked once in a domain: the cursor keeps it. Null when nothing is in the range. */
  async function positionsOf(of: Trail, last: number, { from, to }: Range) {
    if (!from && !to) return { after: 0, last }
    const within = await positionsWithin(sql, of, { from, to })
    return within && { after: within.first - 1, last: within.last }
  }

  /** @returns null when nothing is left in the domain */
  async function pageOf(of: Trail, after: number, last: number) {
    const upTo = await coveredFrom(of, last)
    if (after >= upTo) return null
    const entries = await readEntries(sql, of, { after, upTo, limit: PAGE })
    let previous = await hashAt(of, after)
    let ndjson = ''
    let position = after
    for (const entry of entries) {
      const line = entryLine(entry, previous)
      if (ndjson !== '' && ndjson.length + line.length > PAGE_CHARACTERS) break
      ndjson += line
      previous = entry.entryHash
      position = entry.trailPosition
    }
    // One checkpoint vouches for all before it.
    const named = { domain: of.domain, trail: of.organization }
    const covering = (await readCheckpoints(sql, named, { after, upTo: position })).at(-1)
    if (covering) ndjson = withCheckpoint(ndjson, covering, entries)
    return { ndjson, position, isLast: position >= upTo }
  }

  /** The position of the first checkpoint that covers this one; one is made where there is none yet. */
  async function coveredFrom({ domain, organization }: Trail, position: number): Promise<number> {
    const covering = () =>
      readCheckpoints(
        sql,
        { domain, trail: organization },
        { after: position - 1, upTo: Number.MAX_SAFE_INTEGER, limit: 1 },
      )
    let [found] = await covering()
    if (!found) {
      while (await trail.checkpoint(domain));
      ;[found] = await covering()
    }
    // A chain that is broken is not signed any more: whoever checks the export sees it.
    return found?.position ?? position
  }

  async function hashAt(of: Trail, position: number): Promise<string | null> {
    if (position === 0) return null
    const range = { after: position - 1, upTo: position, limit: 1 }
    return (await readEntries(sql, of, range))[0]?.entryHash ?? null
  }
}

type Trail = {
  readonly domain: string
  readonly organizationId: string
  readonly organization: string
}

/** Behind the entry that it names. */
function withCheckpoint(
  ndjson: string,
  { position, statement }: { position: number; statement: string },
  entries: readonly Entry[],
): string {
  const index = entries.findIndex((it) => it.trailPosition === position)
  const lines = ndjson.split('\n')
  const checkpoint = checkpointLine(statement).trimEnd()
  return [...lines.slice(0, index + 1), checkpoint, ...lines.slice(index + 1)].join('\n')
}

/** `<domain>/<the last position that was told>/<the last that is asked for>` */
function cursorOf(text: string): { domain: string; after: number; last: number } {
  const [, domain = '', after = '', last = ''] =
    /^([a-z]{1,40})\/(\d{1,15})\/(\d{1,15})$/.exec(text) ?? []
  if (domain !== '') return { domain, after: Number(after), last: Number(last) }
  throw new DomainError('BAD_INPUT', '`after` is not a cursor of this export: leave it out')
}
