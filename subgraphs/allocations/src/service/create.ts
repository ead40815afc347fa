import { setTimeout as sleep } from 'node:timers/promises'
import { actorToClaims, requireOrganization } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Tx } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { fault } from '@berth/platform/fault-points'
import { idempotent } from '@berth/platform/idempotency'
import { type Id, idToUuid, newId } from '@berth/platform/ids'
import type { PrismaClient } from '@berth/prisma/allocations'
import { requested } from '../domain/advance.ts'
import { checkWanted, type Wanted } from '../domain/input.ts'
import { isRefusal, refusalError } from '../domain/refusal.ts'
import type { Allocation, SshKey } from '../model.ts'
import { insertAllocation } from '../store/allocations.ts'
import { findSshKeys } from '../store/ssh-keys.ts'
import { requireQuota } from './gpu-quota.ts'
import { type Asked, causeOf, type Ports } from './ports.ts'

/**
 * Asks for GPUs: writes the request, and waits until it is reserved or refused. The same key again
 * gives the same allocation as it is then, or the same refusal.
 *
 * When the reservation takes longer than `reservationSeconds`, the allocation is returned as
 * REQUESTED and the worker goes on with it.
 *
 * @throws {DomainError} BAD_INPUT without a key; NO_CAPACITY, INSUFFICIENT_CREDIT, QUOTA_EXCEEDED,
 *   FORBIDDEN when it was refused, and then nothing is held; FORBIDDEN when a rule forbids so much
 */
export async function createAllocation(
  ports: Ports,
  asked: Asked,
  input: Parameters<typeof checkWanted>[0],
): Promise<Allocation> {
  if (!asked.idempotencyKey) {
    throw new DomainError(
      'BAD_INPUT',
      'Send an Idempotency-Key header, for example a UUID: the same key again will not rent twice',
    )
  }
  const organizationId = requireOrganization(asked.actor)
  const wanted = checkWanted(input)
  // Before the transaction: both may have to ask policy. They are for what is new: what was granted once
  // is told again by its key.
  const isPermitted = await mayHave(ports, asked, wanted)
  const quota = await ports.gpuQuota(organizationId)
  const { allocationId } = await ports.database.transaction((tx) =>
    idempotent(tx.sql, asked, 'allocationCreate', wanted, async () => {
      if (!isPermitted) throw forbidden(wanted)
      await requireQuota(tx.sql, organizationId, wanted.gpuCount, quota)
      return request(tx, ports, asked, wanted)
    }),
  )
  await fault('create:committed')
  ports.wake()
  const allocation = await reserved(ports, organizationId, allocationId)
  if (isRefusal(allocation)) throw refusalError(allocation.reason, allocation.id)
  return allocation
}

/** That they may create at all was asked before: this is about what they want to. */
async function mayHave(
  { policy }: Ports,
  { actor }: Asked,
  { gpuModel, gpuCount, region }: Wanted,
): Promise<boolean> {
  return policy.decide(actor, 'allocation:create', { gpuModel, gpuCount, region: region ?? 'any' })
}

function forbidden({ gpuModel, gpuCount, region }: Wanted): DomainError {
  return new DomainError(
    'FORBIDDEN',
    `An authorization rule forbids ${gpuCount} × ${gpuModel}${region === null ? '' : ` in ${region}`}: ` +
      'ask for fewer or for others, or ask those who manage your organization’s policies',
  )
}

/** The effect, in one transaction: the request with its keys, its event, its audit row. */
async function request(
  { prisma, sql }: Tx<PrismaClient>,
  { clock }: Ports,
  asked: Asked,
  wanted: Wanted,
): Promise<{ allocationId: Id<'alc'> }> {
  const { actor } = asked
  const organizationId = requireOrganization(actor)
  const { name, gpuModel, gpuCount, region } = wanted
  const now = clock.now()
  const allocation: Allocation = {
    ...requested(now),
    id: newId('alc'),
    organizationId,
    createdBy: actor.subject,
    name,
    gpuModel,
    gpuCount,
    region,
    nodeId: null,
    holdId: null,
    run: 1,
    actor: actorToClaims(actor),
    cause: causeOf(asked),
    login: null,
    createdAt: now,
    slots: [],
    attempts: 0,
    eventSeq: 1,
  }
  const keys = await keysOf(prisma, allocation.createdBy, wanted.sshKeyIds)
  await insertAllocation(sql, allocation, keys)
  await appendAudit(sql, {
    organizationId: idToUuid(organizationId),
    actor,
    action: 'allocation.create',
    target: allocation.id,
    facts: { gpuModel, gpuCount, region, keys: keys.length },
  })
  return { allocationId: allocation.id }
}

async function keysOf(
  prisma: Tx<PrismaClient>['prisma'],
  userId: Id<'usr'>,
  ids: readonly Id<'ssk'>[] | null,
): Promise<SshKey[]> {
  const keys = await findSshKeys(prisma, userId, ids ?? undefined)
  const missing = ids?.find((id) => !keys.some((key) => key.id === id))
  if (!missing) return keys
  throw new DomainError('NOT_FOUND', `You have no SSH key ${missing}: see \`sshKeys\``)
}

/** Any replica's worker may do it, so it is read until it is done, or the time is up. */
async function reserved(
  { allocations, reservationSeconds }: Ports,
  organizationId: Id<'org'>,
  id: Id<'alc'>,
): Promise<Allocation> {
  const giveUpAt = performance.now() + reservationSeconds * 1_000
  for (let delayMs = 10; ; delayMs = Math.min(delayMs * 1.5, 250)) {
    const allocation = await allocations.find(organizationId, id)
    if (!allocation) throw new Error(`${id} is gone`)
    // What was refused is given back first: who asks again at once must not be in their own way.
    const isDecided = allocation.state !== 'REQUESTED' && !allocation.isCleanupPending
    if (isDecided || performance.now() + delayMs > giveUpAt) return allocation
    await sleep(delayMs)
  }
}
