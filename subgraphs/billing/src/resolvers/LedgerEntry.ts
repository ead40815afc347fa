import { idToUuid, parseId, uuidToId } from '@berth/platform/ids'
import { toMoney } from '@berth/platform/money'
import type { LedgerEntryResolvers } from '../generated/resolvers.ts'

export const LedgerEntry: LedgerEntryResolvers = {
  __resolveReference: ({ id }, { load }) => load.ledgerEntry(idToUuid(parseId('len', id))),
  id: ({ id }) => uuidToId('len', id),
  transactionId: ({ transactionId }) => uuidToId('ltx', transactionId),
  amount: ({ amountMicros, currency }) => toMoney(amountMicros, currency),
  at: ({ postedAt }) => postedAt,
}
