import { type Bell, createBell } from '@berth/platform/bell'
import type { Clock } from '@berth/platform/clock'
import type { SqlDatabase } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { timeOfUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { Metrics } from '@berth/platform/metrics'
import type { appendAuditTrail } from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { CHECKPOINT_MESSAGE } from '../domain/audit-anchor.ts'
import { type Head, seal, WHOLE } from '../domain/audit-chain.ts'
import { createChainCheck } from '../domain/audit-check.ts'
import { type Checkpoint, type PublicKeys, readCheckpoint } from '../domain/audit-checkpoint.ts'
import type { Json } from '../domain/canonical-json.ts'
import * as store from '../store/audit-trail.ts'

export type ArrivedAudit = z.output<typeof appendAuditTrail.input>['events'][number]

/** The audit of all domains, each sealed into a chain of its own. */
export type AuditTrail = {
  /**
   * Appends to a domain's chain what it does not have yet, in this order.
   *
   * @returns how many were new
   * @throws {DomainError} BAD_INPUT when something is no JSON
   */
  append(domain: string, events: readonly ArrivedAudit[]): Promise<number>
  /**
   * Signs where a domain's chain stands, and each of its trails that has moved; after it has checked all
   * that came since the last time. Nothing is signed over a break.
   *
   * @returns whether there is more to sign
   */
  checkpoint(domain: string): Promise<boolean>
  /** The same of every domain, until there is no more. */
  checkpointAll(): Promise<void>
  /** Rings when so much was appended that it ought to be signed now. */
  readonly due: Bell
}

/** So much at once is appended unsigned for no longer than it takes to sign it. */
const CHECKPOINT_EVERY = 100
/** Checked in one transaction, in which the chain stands still. */
const CHECKED_AT_ONCE = 1_000

export function createAuditTrail({
  database,
  sign,
  keys,
  clock,
  log,
  metrics,
}: {
  database: SqlDatabase
  sign: (it: Checkpoint) => string
  keys: PublicKeys
  clock: Clock
  log: Log
  metrics: Metrics
}): AuditTrail {
  const appended = metrics.counter('berth_audit_appended_total', 'Audit rows sealed', ['domain'])
  const broken = metrics.gauge('berth_audit_broken', 'Whether the chain was found broken', [
    'domain',
  ])
  const unsigned = new Map<string, number>()
  const due = createBell()

  const trail: AuditTrail = {
    async append(domain, events) {
      const arrived = events.map(fieldsOf)
      const count = await database.sqlTransaction(async (sql) => {
        const head = await store.lockChain(sql, domain)
        const known = await store.knownIds(
          sql,
          domain,
          arrived.map(({ fields }) => fields),
        )
        const fresh = arrived.filter(({ fields: { id } }) => !known.has(id) && known.add(id))
        if (fresh.length === 0) return 0
        const trails = [...new Set(fresh.map((it) => it.trail))]
        const heads = await store.readHeads(sql, domain, trails)
        heads.set(WHOLE, head)
        await store.appendLinks(sql, seal(domain, fresh, heads), heads)
        return fresh.length
      })
      appended.inc({ domain }, count)
      const since = (unsigned.get(domain) ?? 0) + count
      unsigned.set(domain, since)
      if (since >= CHECKPOINT_EVERY) due.ring()
      return count
    },

    async checkpoint(domain) {
      unsigned.set(domain, 0)
      return database.sqlTransaction(async (sql) => {
        const head = await store.lockChain(sql, domain)
        const signedAt = async (trails: string[]) =>
          signedHeads(await store.latestCheckpoints(sql, domain, trails), domain)
        const whole = await signedAt([WHOLE])
        if (!whole) return false
        const after = whole.get(WHOLE)?.position ?? 0
        if (head.position < after) return reportBreak(domain, `${after} is signed, and gone`)
        const links = await store.readLinks(sql, domain, after, CHECKED_AT_ONCE)
        if (links.length === 0) return false
        const moved = [WHOLE, ...new Set(links.map((it) => it.trail))]
        const signed = await signedAt(moved)
        if (!signed) return false
        const check = createChainCheck(domain, signed)
        const [broke] = links.flatMap((link) => check.add(link))
        if (broke) return reportBreak(domain, broke.what)
        const at = clock.now().toISOString()
        const made = moved.map((name) => {
          const { position, hash } = check.heads.get(name) as Head & { hash: string }
          const checkpoint = { domain, trail: name, position, hash, at }
          return { checkpoint, statement: sign(checkpoint) }
        })
        await store.insertCheckpoints(sql, made)
        broken.set({ domain }, 0)
        // In the logs it outlives a database that was rolled back: domain/audit-anchor.ts.
        const { position, hash } = made[0]?.checkpoint ?? {}
        log.info({ domain, position, hash }, CHECKPOINT_MESSAGE)
        return links.length === CHECKED_AT_ONCE
      })
    },

    async checkpointAll() {
      for (const domain of await store.auditedDomains(database.sql)) {
        while (await trail.checkpoint(domain));
      }
    },

    due,
  }
  return trail

  /** Where the signed checkpoints say that all stands; null when one of them is not ours. */
  async function signedHeads(
    latest: readonly store.SignedCheckpoint[],
    domain: string,
  ): Promise<Map<string, Head> | null> {
    const heads = new Map<string, Head>()
    for (const { trail: name, position, statement } of latest) {
      const said = readCheckpoint(statement, keys)
      if (said?.domain !== domain || said.trail !== name || said.position !== position) {
        reportBreak(
          domain,
          `the checkpoint of ${name} at ${position} is not signed by this service`,
        )
        return null
      }
      heads.set(name, said)
    }
    return heads
  }

  function reportBreak(domain: string, what: string): false {
    broken.set({ domain }, 1)
    log.error(
      { domain, what },
      'the audit trail was tampered with: npm run audit:verify says where',
    )
    return false
  }
}

function fieldsOf(event: ArrivedAudit) {
  const { id, organizationId, action, target, reason, requestId, origin } = event
  return {
    trail: store.trailOf(organizationId),
    fields: {
      id,
      at: timeOfUuid(id).toISOString(),
      actor: parsed(event.actor),
      action,
      target,
      reason,
      facts: parsed(event.facts),
      before: event.before === null ? null : parsed(event.before),
      after: event.after === null ? null : parsed(event.after),
      requestId,
      origin,
    },
  }
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new DomainError('BAD_INPUT', 'An audit row holds no JSON', { cause })
  }
}
