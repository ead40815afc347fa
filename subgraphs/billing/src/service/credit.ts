import type { Clock } from '@berth/platform/clock'
import type { Sql } from '@berth/platform/database'
import { fault } from '@berth/platform/fault-points'
import type { Micros } from '@berth/platform/money'
import { starterCreditCause } from '../domain/causes.ts'
import { clearDepleted, houseAccount, lockAccount, openAccount } from '../store/accounts.ts'
import { isPosted, post } from '../store/ledger.ts'

export type CreditDeps = { clock: Clock; currency: string; starterCreditMicros: Micros }

export type Credit = {
  /**
   * Opens a new organization's account and gives it its starter credit, once, whatever the amount
   * has become since. In the caller's transaction.
   */
  welcome(sql: Sql, organizationId: string): Promise<void>
}

export function createCredit({ clock, currency, starterCreditMicros }: CreditDeps): Credit {
  return {
    async welcome(sql, organizationId) {
      const now = clock.now()
      const accountId = await openAccount(sql, organizationId, currency, now)
      await fault('billing.account.opened')
      if (starterCreditMicros === 0n) return
      await lockAccount(sql, accountId)
      const cause = starterCreditCause(organizationId)
      if (await isPosted(sql, cause)) return
      await post(sql, {
        cause,
        kind: 'CREDIT',
        organizationId,
        amountMicros: starterCreditMicros,
        fromAccount: await houseAccount(sql, 'PROMOTION', currency),
        toAccount: accountId,
        postedAt: now,
      })
      await clearDepleted(sql, accountId)
      await fault('billing.credit.posted')
    },
  }
}
