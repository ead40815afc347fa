import {
  allow,
  and,
  inOrganization,
  isOperator,
  mayDo,
  or,
  type Rules,
} from '@berth/platform/shield'

const readsBilling = and(inOrganization, mayDo('billing:read'))

/** Who may call; what is not named here is denied. Prices are public. */
export const rules: Rules = {
  Query: { balance: readsBilling, usageRecords: readsBilling, ledgerEntries: readsBilling },
  // Entities are entered below the queries: guarded on their own.
  UsageRecord: readsBilling,
  LedgerEntry: readsBilling,
  Allocation: { id: allow, cost: or(isOperator, mayDo('billing:read'), mayDo('allocation:read')) },
  GpuModel: allow,
  Balance: allow,
  Money: allow,
  PageInfo: allow,
  UsageRecordConnection: allow,
  UsageRecordEdge: allow,
  LedgerEntryConnection: allow,
  LedgerEntryEdge: allow,
}
