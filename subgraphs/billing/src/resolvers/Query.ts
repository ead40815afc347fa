import type { QueryResolvers } from '../generated/resolvers.ts'

export const Query: QueryResolvers = {
  balance: (_root, _args, { actor, reads }) => reads.balance(actor),
  usageRecords: (_root, args, { actor, reads }) => reads.usageRecords(actor, args),
  ledgerEntries: (_root, args, { actor, reads }) => reads.ledgerEntries(actor, args),
}
