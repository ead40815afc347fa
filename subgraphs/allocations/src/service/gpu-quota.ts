import { DomainError } from '@berth/platform/errors'
import type { Id } from '@berth/platform/ids'
import type { PolicyClient } from '@berth/platform/policy-client'
import type { Sql } from '@berth/platform/sql'
import { GPU_QUOTA } from '@berth/schema/quotas'
import { z } from 'zod'
import { countHeldGpus, lockHeldGpus } from '../store/allocations.ts'

/**
 * How many GPUs an organization may hold at once.
 *
 * @throws {DomainError} UNAVAILABLE when policy cannot be asked and nothing recent is known
 */
export type GpuQuota = (organizationId: Id<'org'>) => Promise<number>

const Quota = z.int().min(0)

export function createGpuQuota(policy: Pick<PolicyClient, 'value'>): GpuQuota {
  return async (organizationId) => {
    const value = await policy.value(GPU_QUOTA.key, { organizationId })
    return value === undefined ? GPU_QUOTA.initial : Quota.parse(value)
  }
}

/**
 * Holds up every other request of the organization until the transaction ends: of those that come at
 * once each counts what the one before it holds.
 *
 * @throws {DomainError} QUOTA_EXCEEDED when so many more are beyond the quota
 */
export async function requireQuota(
  sql: Sql,
  organizationId: Id<'org'>,
  gpuCount: number,
  quota: number,
): Promise<void> {
  await lockHeldGpus(sql, organizationId)
  const held = await countHeldGpus(sql, organizationId)
  if (held + gpuCount <= quota) return
  throw new DomainError(
    'QUOTA_EXCEEDED',
    `Your organization holds ${held} of the ${quota} GPUs that it may hold at once, and this asks for ${gpuCount} more. Release something or ask for more, then ask again.`,
    { held, quota },
  )
}
