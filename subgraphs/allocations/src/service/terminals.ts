import { type Actor, requireOrganization } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { DomainError } from '@berth/platform/errors'
import { refuseIdempotencyKey } from '@berth/platform/idempotency'
import { type Id, idToUuid, newId, parseId } from '@berth/platform/ids'
import { after } from '../domain/advance.ts'
import { checkOrigin } from '../domain/input.ts'
import { allowedActions } from '../domain/machine.ts'
import type { Login } from '../driver/port.ts'
import type { Allocation, TerminalSession } from '../model.ts'
import { lockState } from '../store/allocations.ts'
import type { Asked, Ports } from './ports.ts'
import { notFound } from './release.ts'

const TOKEN_SECONDS = 60

/**
 * Prepares a shell: keeps the session's facts, and mints the token that opens it once. Refuses an
 * Idempotency-Key: a token is told once and kept nowhere, so that no repetition could be answered.
 *
 * @throws {DomainError} NOT_FOUND, CONFLICT when it does not run, BAD_INPUT on a foreign origin or
 *   with a key, RATE_LIMITED
 */
export async function createTerminalSession(
  { database, allocations, tokens, clock, terminalUrl, allowedOrigins, terminalRate }: Ports,
  asked: Asked,
  input: { allocationId: string; origin?: string | null },
): Promise<{ terminalSession: TerminalSession; token: string }> {
  const why = 'its token is told once and kept nowhere. Ask again without one for another session'
  refuseIdempotencyKey(asked, 'terminalSessionCreate', why)
  const { actor } = asked
  const organizationId = requireOrganization(actor)
  const allocationId = parseId('alc', input.allocationId)
  const origin = checkOrigin(input.origin ?? null, allowedOrigins)
  const userId = actor.subject
  const allocation = await allocations.find(organizationId, allocationId)
  if (!allocation) throw notFound(allocationId)
  runningLogin(allocation)
  await terminalRate(actor)

  const id = newId('tms')
  const now = clock.now()
  const expiresAt = after(now, TOKEN_SECONDS)
  await database.transaction(async ({ prisma, sql }) => {
    // Once it ends, its sessions are closed: none may be added behind that.
    const state = await lockState(sql, organizationId, allocationId)
    if (state !== allocation.state) runningLogin({ ...allocation, state: state ?? 'RELEASED' })
    await prisma.terminalSession.create({
      data: {
        id: idToUuid(id),
        organizationId: idToUuid(organizationId),
        allocationId: idToUuid(allocationId),
        userId: idToUuid(userId),
        origin,
        createdAt: now,
        expiresAt,
      },
    })
    await appendAudit(sql, {
      organizationId: idToUuid(organizationId),
      actor,
      action: 'terminal.create',
      target: id,
      facts: { allocationId, origin },
    })
  })
  const credential = actor.credential ?? null
  const record = { terminalSessionId: id, allocationId, organizationId, userId, credential, origin }
  const token = await tokens.mint(record, TOKEN_SECONDS).catch((cause: unknown) => {
    throw new DomainError('UNAVAILABLE', 'Terminals cannot be opened now: try again', { cause })
  })
  return { terminalSession: { id, url: terminalUrl, expiresAt, allocationId }, token }
}

/**
 * Where the shell of a session opens, once its token was taken.
 *
 * @throws {DomainError} NOT_FOUND, FORBIDDEN when it is another organization's, CONFLICT when the
 *   allocation does not run any more or the session is over
 */
export async function openTerminalSession(
  { allocations, terminals, clock }: Ports,
  actor: Actor,
  id: Id<'tms'>,
): Promise<{ allocation: Allocation; nodeId: Id<'nod'>; login: Login }> {
  const session = await terminals.find(id)
  if (!session) throw new DomainError('NOT_FOUND', `There is no terminal session ${id}`)
  const { organizationId, allocationId } = session
  if (actor.kind !== 'service' && actor.organizationId !== organizationId) {
    throw new DomainError('FORBIDDEN', 'The terminal session is another organization’s')
  }
  if (session.closedAt) throw new DomainError('CONFLICT', 'The terminal session is over')
  const allocation = await allocations.find(organizationId, allocationId)
  if (!allocation) throw notFound(allocationId)
  const { login, nodeId } = runningLogin(allocation)
  await terminals.markOpened(id, clock.now())
  return { allocation, nodeId, login }
}

/** @returns whether it was open until now */
export async function closeTerminalSession(
  { terminals, clock }: Ports,
  id: Id<'tms'>,
  reason: string,
): Promise<boolean> {
  return terminals.close(id, reason, clock.now())
}

function runningLogin({ id, state, login, nodeId }: Allocation) {
  if (allowedActions(state).includes('OPEN_TERMINAL') && login && nodeId) return { login, nodeId }
  throw new DomainError('CONFLICT', `Allocation ${id} is ${state}: a terminal needs it RUNNING`)
}
