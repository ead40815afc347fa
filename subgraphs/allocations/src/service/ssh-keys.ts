import { type Actor, requirePerson } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import { sqlState } from '@berth/platform/database'
import { DomainError } from '@berth/platform/errors'
import { idempotent } from '@berth/platform/idempotency'
import { idToUuid, newId, parseId } from '@berth/platform/ids'
import { parseSshPublicKey } from '@berth/platform/ssh-certificate'
import { checkName } from '../domain/input.ts'
import type { SshKey } from '../model.ts'
import { deleteSshKey, findSshKeys, insertSshKey } from '../store/ssh-keys.ts'
import type { Asked, Ports } from './ports.ts'

const MAX_KEYS = 100

/** The person's keys, newest first. */
export async function listSshKeys({ database }: Ports, actor: Actor): Promise<SshKey[]> {
  return findSshKeys(database.prisma, requirePerson(actor))
}

/** @throws {DomainError} BAD_INPUT for what is no public key, CONFLICT for one added before */
export async function addSshKey(
  { database, clock }: Ports,
  asked: Asked,
  input: { name: string; publicKey: string },
): Promise<SshKey> {
  const { actor } = asked
  const userId = requirePerson(actor)
  const { publicKey, fingerprint } = parseSshPublicKey(input.publicKey)
  const name = checkName(input.name)
  const added = await database
    .transaction(({ prisma, sql }) =>
      idempotent(sql, asked, 'sshKeyAdd', { name, publicKey }, async () => {
        const count = await prisma.sshKey.count({ where: { userId: idToUuid(userId) } })
        if (count >= MAX_KEYS) {
          throw new DomainError('QUOTA_EXCEEDED', `You have ${count} keys: remove one first`)
        }
        const key = { id: newId('ssk'), name, publicKey, fingerprint, createdAt: clock.now() }
        await insertSshKey(prisma, userId, key)
        await audit(sql, actor, 'sshKey.add', key.id, fingerprint)
        return { ...key, createdAt: key.createdAt.toISOString() }
      }),
    )
    .catch((error: unknown) => {
      if (sqlState(error) !== '23505') throw error
      throw new DomainError('CONFLICT', 'You have added this key before: see `sshKeys`')
    })
  return { ...added, createdAt: new Date(added.createdAt) }
}

/** @throws {DomainError} NOT_FOUND when the person has none of that id */
export async function removeSshKey(
  { database }: Ports,
  asked: Asked,
  input: { id: string },
): Promise<string> {
  const { actor } = asked
  const userId = requirePerson(actor)
  const id = parseId('ssk', input.id)
  const { sshKeyId } = await database.transaction(({ prisma, sql }) =>
    idempotent(sql, asked, 'sshKeyRemove', { id }, async () => {
      if (!(await deleteSshKey(prisma, userId, id))) {
        throw new DomainError('NOT_FOUND', `You have no SSH key ${id}: see \`sshKeys\``)
      }
      await audit(sql, actor, 'sshKey.remove', id)
      return { sshKeyId: id }
    }),
  )
  return sshKeyId
}

async function audit(
  sql: Parameters<typeof appendAudit>[0],
  actor: Actor,
  action: string,
  target: string,
  fingerprint?: string,
): Promise<void> {
  // A key is a person's, in whichever organization they act.
  const facts = fingerprint ? { fingerprint } : {}
  await appendAudit(sql, { organizationId: null, actor, action, target, facts })
}
