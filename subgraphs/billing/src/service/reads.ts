import { type Actor, requireOrganization } from '@berth/platform/actor'
import { type Connection, connection, pageArguments } from '@berth/platform/connection'
import type { Database } from '@berth/platform/database'
import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import { type Money, toMoney } from '@berth/platform/money'
import { readAccount } from '../store/accounts.ts'
import { type LedgerEntryRow, listEntries } from '../store/ledger.ts'
import { listUsage, type UsageRow } from '../store/usage.ts'

export type PageInput = {
  first?: number | null | undefined
  after?: string | null | undefined
}

/** What an organization may read of its money. */
export type Reads = {
  balance(actor: Actor): Promise<{ posted: Money; held: Money; available: Money }>
  usageRecords(
    actor: Actor,
    input: PageInput & { allocationId?: string | null | undefined },
  ): Promise<Connection<UsageRow>>
  ledgerEntries(actor: Actor, input: PageInput): Promise<Connection<LedgerEntryRow>>
}

export function createReads({
  database: { sql },
  currency,
}: {
  database: Pick<Database, 'sql'>
  currency: string
}): Reads {
  return {
    async balance(actor) {
      const account = await readAccount(sql, organizationOf(actor), currency)
      const posted = account?.postedMicros ?? 0n
      const held = account?.heldMicros ?? 0n
      return {
        posted: toMoney(posted, currency),
        held: toMoney(held, currency),
        available: toMoney(posted - held, currency),
      }
    },
    async usageRecords(actor, input) {
      const page = pageOf(input, 'usg')
      const allocationId = input.allocationId == null ? null : uuidOf('alc', input.allocationId)
      const rows = await listUsage(sql, organizationOf(actor), { allocationId }, page.read)
      return connection({ ...page, rows, cursorOf: ({ id }) => uuidToId('usg', id) })
    },
    async ledgerEntries(actor, input) {
      const page = pageOf(input, 'len')
      const rows = await listEntries(sql, organizationOf(actor), page.read)
      return connection({ ...page, rows, cursorOf: ({ id }) => uuidToId('len', id) })
    },
  }
}

function organizationOf(actor: Actor): string {
  return idToUuid(requireOrganization(actor))
}

function uuidOf(prefix: string, text: string): string {
  return idToUuid(parseId(prefix, text))
}

function pageOf(input: PageInput, prefix: string) {
  const { first, take, after } = pageArguments(input)
  return { first, after, read: { take, after: after === null ? null : uuidOf(prefix, after) } }
}
