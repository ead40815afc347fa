import { type AuditRecord, appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import type { Database, Sql } from '@berth/platform/database'
import type { DialGuard } from '@berth/platform/dial-guard'
import { DomainError } from '@berth/platform/errors'
import { idempotent, type Keyed, refuseIdempotencyKey } from '@berth/platform/idempotency'
import { idToUuid, newUuid, parseId, uuidToId } from '@berth/platform/ids'
import { cordoned, type NodeStanding, uncordoned } from '../domain/node.ts'
import { insertNode, lockNode, type NodeRow, readNode } from '../store/nodes.ts'
import { regionsByCode } from '../store/offers.ts'
import { restoreSlot, type SlotRow, slotsById } from '../store/slots.ts'
import type { Probing } from './probing.ts'
import { changeStanding, tellEnrolled } from './standing.ts'

export type EnrollInput = {
  name: string
  region: string
  host: string
  port?: number
  username?: string
  hostKeyFingerprint?: string | null | undefined
}

/** What operators do to nodes. Every change is audited in its own transaction. */
export type Nodes = {
  /**
   * Enrolls a node and probes it.
   *
   * @throws {DomainError} BAD_INPUT, BAD_TARGET; CONFLICT when the name or the address is taken
   */
  enroll(caller: Keyed, input: EnrollInput): Promise<NodeRow>
  /** @throws {DomainError} BAD_INPUT with a key; otherwise as `Probing.probeNow` */
  probe(caller: Keyed, id: string): Promise<NodeRow>
  /** @throws {DomainError} NOT_FOUND; CONFLICT when it is not where it can be cordoned */
  cordon(caller: Keyed, input: { id: string; reason: string }): Promise<NodeRow>
  /** @throws {DomainError} NOT_FOUND; CONFLICT when it is not cordoned */
  uncordon(caller: Keyed, input: { id: string }): Promise<NodeRow>
  /** @throws {DomainError} CONFLICT when it is not quarantined, or not there */
  restoreSlot(caller: Keyed, input: { id: string; reason: string }): Promise<SlotRow>
}

export function createNodes({
  database,
  clock,
  guard,
  probing,
}: {
  database: Pick<Database, 'sql' | 'sqlTransaction'>
  clock: Clock
  guard: Pick<DialGuard, 'check'>
  probing: Probing
}): Nodes {
  /** A change in one transaction; under a key, once. @returns the id of what was changed */
  function change(
    caller: Keyed,
    operation: string,
    input: object,
    effect: (sql: Sql) => Promise<string>,
  ): Promise<string> {
    return database.sqlTransaction((sql) =>
      idempotent(sql, caller, operation, input, () => effect(sql)),
    )
  }

  function move(
    caller: Keyed,
    operation: 'node.cordon' | 'node.uncordon',
    input: { id: string; reason?: string },
    to: (node: NodeStanding) => NodeStanding | null,
  ): Promise<NodeRow> {
    const nodeId = idToUuid(parseId('nod', input.id))
    return change(caller, operation, input, async (sql) => {
      const node = await lockNode(sql, nodeId)
      if (!node) throw noNode()
      const standing = to(node)
      if (!standing) {
        throw new DomainError('CONFLICT', `A node that is ${node.state} cannot do that`)
      }
      await changeStanding(sql, node, standing, clock.now())
      await audit(sql, caller, operation, input.id, {
        ...reasonOf(input),
        before: { state: node.state },
        after: { state: standing.state },
      })
      return nodeId
    }).then((id) => nodeOf(database.sql, id))
  }

  return {
    async enroll(caller, given) {
      const input = { port: 22, username: 'berth', ...given }
      check(input)
      await guard.check(input.host, input.port)
      const id = await change(caller, 'node.enroll', input, async (sql) => {
        const [region] = await regionsByCode(sql, [input.region])
        if (!region) throw new DomainError('BAD_INPUT', `There is no region ${input.region}`)
        const node = await insertNode(sql, {
          ...input,
          id: newUuid(),
          regionCode: region.code,
          hostKeyFingerprint: input.hostKeyFingerprint ?? null,
          createdAt: clock.now(),
        })
        if (!node) throw new DomainError('CONFLICT', 'A node of that name or address exists')
        await tellEnrolled(sql, node)
        await audit(sql, caller, 'node.enroll', uuidToId('nod', node.id), {
          after: { name: input.name, region: input.region },
        })
        return node.id
      })
      // It is enrolled, whatever becomes of this; the schedule tries again.
      return probing.probeNow(id).catch(() => nodeOf(database.sql, id))
    },
    async probe(caller, id) {
      // It outlasts any transaction that could keep its answer, and is safe to ask for again.
      refuseIdempotencyKey(caller, 'nodeProbe', 'each asks the node anew. Leave the header out')
      const nodeId = idToUuid(parseId('nod', id))
      const { state } = await nodeOf(database.sql, nodeId)
      // Before it: what a probe finds is a transaction of its own, and none is made unaudited.
      await audit(database.sql, caller, 'node.probe', id, { before: { state } })
      return probing.probeNow(nodeId)
    },
    cordon: (caller, input) => move(caller, 'node.cordon', withReason(input), cordoned),
    uncordon: (caller, input) => move(caller, 'node.uncordon', input, uncordoned),
    async restoreSlot(caller, input) {
      const slotId = idToUuid(parseId('slt', withReason(input).id))
      const id = await change(caller, 'slot.restore', input, async (sql) => {
        const slot = await restoreSlot(sql, slotId, clock.now())
        if (!slot) throw new DomainError('CONFLICT', 'This is no quarantined slot')
        await audit(sql, caller, 'slot.restore', input.id, {
          ...reasonOf(input),
          before: { state: 'QUARANTINED' },
          after: { state: slot.state },
        })
        return slot.id
      })
      const [slot] = await slotsById(database.sql, null, [id])
      return slot!
    },
  }
}

const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/
const USERNAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/
const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/

function check({ name, username, hostKeyFingerprint }: EnrollInput): void {
  if (!NAME.test(name)) {
    throw new DomainError('BAD_INPUT', 'A name has 1 to 40 lower-case letters, digits and hyphens')
  }
  if (!USERNAME.test(username ?? '')) throw new DomainError('BAD_INPUT', 'This is no account name')
  if (hostKeyFingerprint != null && !FINGERPRINT.test(hostKeyFingerprint)) {
    throw new DomainError('BAD_INPUT', 'A fingerprint is SHA256: and 43 characters of base64')
  }
}

function withReason<T extends { reason: string }>(input: T): T {
  if (input.reason.trim() === '' || input.reason.length > 500 || input.reason.includes('\0')) {
    throw new DomainError('BAD_INPUT', 'Give a reason of 1 to 500 characters')
  }
  return input
}

function reasonOf({ reason }: { reason?: string }) {
  return reason === undefined ? {} : { reason }
}

async function audit(
  sql: Sql,
  { actor }: Keyed,
  action: string,
  target: string,
  said: Pick<AuditRecord, 'reason' | 'before' | 'after'> = {},
): Promise<void> {
  await appendAudit(sql, { organizationId: null, actor, action, target, ...said })
}

async function nodeOf(sql: Sql, id: string): Promise<NodeRow> {
  const node = await readNode(sql, id)
  if (!node) throw noNode()
  return node
}

function noNode(): DomainError {
  return new DomainError('NOT_FOUND', 'There is no such node')
}
