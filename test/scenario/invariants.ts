import { domains } from '@berth/prisma/migrate'

type Sql = <Row>(text: string, values?: unknown[]) => Promise<Row[]>

/**
 * What must be true of the whole platform whenever nothing is under way, whatever was killed before.
 *
 * @returns one line for each violation; empty when all holds
 */
export async function violations(sql: Sql): Promise<string[]> {
  const found = await Promise.all([
    ...domains.map((domain) => outboxViolations(sql, domain)),
    ...domains.map((domain) => auditViolations(sql, domain)),
    ...checks.map(async ({ name, query }) => {
      const rows = await sql<Record<string, unknown>>(query)
      return rows.map((row) => `${name}: ${JSON.stringify(row)}`)
    }),
  ])
  return found.flat()
}

/** Every event has a position and was published; positions and aggregate sequences have no gap. */
async function outboxViolations(sql: Sql, domain: string): Promise<string[]> {
  const rows = await sql<{ problem: string; n: string }>(`
    SELECT 'unpublished' AS problem, count(*) AS n FROM ${domain}.outbox
      WHERE published_at IS NULL OR stream_seq IS NULL
    UNION ALL
    SELECT 'positions with gaps', max(stream_seq) - count(*) FROM ${domain}.outbox
    UNION ALL
    SELECT 'aggregates with gaps', count(*) FROM (
      SELECT FROM ${domain}.outbox GROUP BY aggregate, aggregate_id
      HAVING max(aggregate_seq) <> count(*)
    ) AS gappy`)
  return rows
    .filter((it) => Number(it.n) !== 0)
    .map((it) => `${domain}.outbox: ${it.n} ${it.problem}`)
}

/** What a domain audited is sealed in policy, each row once and as it was written; nothing else is. */
export async function auditViolations(sql: Sql, domain: string): Promise<string[]> {
  const own = 'id, at, organization_id, actor, action, target, reason, facts, before, after'
  const rows = await sql<{ problem: string; n: string }>(`
    SELECT 'not relayed' AS problem, count(*) AS n FROM ${domain}.audit_relay
    UNION ALL
    SELECT 'not sealed, or otherwise', count(*) FROM (
      SELECT ${own}, request_id, origin FROM ${domain}.audit_events
      EXCEPT SELECT ${own}, request_id, origin FROM policy.audit_trail WHERE domain = '${domain}'
    ) AS lost
    UNION ALL
    SELECT 'sealed and never written, or twice', count(*) - (SELECT count(*) FROM ${domain}.audit_events)
      FROM policy.audit_trail WHERE domain = '${domain}'
    UNION ALL
    SELECT 'positions with gaps', coalesce(max(position), 0) - count(*)
      FROM policy.audit_trail WHERE domain = '${domain}'`)
  return rows
    .filter((it) => Number(it.n) !== 0)
    .map((it) => `${domain}.audit_events: ${it.n} ${it.problem}`)
}

const checks = [
  {
    name: 'a slot is held although its allocation is over',
    query: `SELECT slot.id, slot.state FROM inventory.slots AS slot
      LEFT JOIN allocations.allocations AS owner ON owner.id = slot.allocation_id
      WHERE slot.state <> 'FREE' AND (owner.id IS NULL OR owner.state IN ('RELEASED', 'FAILED'))
        AND NOT (slot.state = 'QUARANTINED')`,
  },
  {
    name: 'a live slot of allocations is not this allocation’s in inventory',
    query: `SELECT live.slot_id FROM allocations.allocation_slots AS live
      JOIN inventory.slots AS slot ON slot.id = live.slot_id
      WHERE live.live AND slot.allocation_id IS DISTINCT FROM live.allocation_id`,
  },
  {
    name: 'an allocation is stuck',
    query: `SELECT id, state FROM allocations.allocations
      WHERE state NOT IN ('RUNNING', 'RELEASED', 'FAILED', 'STOPPED') OR is_cleanup_pending`,
  },
  {
    name: 'a hold outlives its allocation',
    query: `SELECT hold.id, hold.state FROM billing.holds AS hold
      JOIN allocations.allocations AS owner ON owner.id = hold.allocation_id
      WHERE hold.state = 'PLACED' AND owner.state IN ('RELEASED', 'FAILED')`,
  },
  {
    name: 'a meter runs on',
    query: `SELECT meter.allocation_id FROM billing.meters AS meter
      JOIN allocations.allocations AS owner ON owner.id = meter.allocation_id
      WHERE (meter.ended_at IS NULL) <> (owner.state = 'RUNNING')`,
  },
  {
    name: 'an allocation that ran was not metered from start to end, to the second',
    query: `SELECT owner.id, sum(used.gpu_seconds) AS gpu_seconds,
        floor(extract(epoch FROM owner.ended_at - owner.started_at)) * owner.gpu_count AS expected
      FROM allocations.allocations AS owner
      LEFT JOIN billing.usage_records AS used ON used.allocation_id = owner.id
      WHERE owner.started_at IS NOT NULL AND owner.ended_at IS NOT NULL
      GROUP BY owner.id
      HAVING coalesce(sum(used.gpu_seconds), 0)
        <> floor(extract(epoch FROM owner.ended_at - owner.started_at)) * owner.gpu_count`,
  },
  {
    name: 'a ledger transaction does not balance',
    query: `SELECT transaction_id, sum(amount_micros) FROM billing.ledger_entries
      GROUP BY transaction_id, currency HAVING sum(amount_micros) <> 0`,
  },
  {
    name: 'usage and ledger differ',
    query: `SELECT used.cost, posted.cost AS posted FROM
      (SELECT coalesce(sum(cost_micros), 0) AS cost FROM billing.usage_records) AS used,
      (SELECT coalesce(sum(entry.amount_micros), 0) AS cost FROM billing.ledger_entries AS entry
        JOIN billing.ledger_accounts AS account ON account.id = entry.account_id
        WHERE account.kind = 'REVENUE') AS posted
      WHERE used.cost <> posted.cost`,
  },
  {
    name: 'a kept balance is not the sum of its entries',
    query: `SELECT account.id FROM billing.ledger_accounts AS account
      WHERE account.posted_micros IS NOT NULL AND account.posted_micros <> (
        SELECT coalesce(sum(amount_micros), 0) FROM billing.ledger_entries
        WHERE account_id = account.id)`,
  },
  {
    name: 'an inbox has a gap or a double',
    query: `SELECT user_id, max(sequence), count(*) FROM notifications.notifications
      GROUP BY user_id HAVING max(sequence) <> count(*) OR count(DISTINCT sequence) <> count(*)`,
  },
  {
    name: 'an event did not lead to exactly one notification',
    query: `SELECT event.id, event.state, count(told.id) FROM allocations.allocation_events AS event
      JOIN allocations.allocations AS owner ON owner.id = event.allocation_id
      LEFT JOIN notifications.notifications AS told
        ON told.allocation_id = event.allocation_id AND told.kind = 'ALLOCATION_' || event.state
      WHERE event.state IN ('RUNNING', 'RELEASED', 'FAILED')
      GROUP BY event.id, event.state HAVING count(told.id) <> 1`,
  },
]
