import type { Database, Tx } from '@berth/platform/database'
import { type Id, idToUuid, uuidToId } from '@berth/platform/ids'
import type { PrismaClient } from '@berth/prisma/allocations'
import type { SshKey } from '../model.ts'

type Prisma = Pick<Tx<PrismaClient>['prisma'], 'sshKey'>

/** The person's keys, newest first; only those of these ids, when given. */
export async function findSshKeys(
  prisma: Prisma | Database<PrismaClient>['prisma'],
  userId: Id<'usr'>,
  ids?: readonly Id<'ssk'>[],
): Promise<SshKey[]> {
  const rows = await prisma.sshKey.findMany({
    where: { userId: idToUuid(userId), ...(ids && { id: { in: ids.map(idToUuid) } }) },
    orderBy: { id: 'desc' },
  })
  return rows.map(({ id, name, publicKey, fingerprint, createdAt }) => ({
    id: uuidToId('ssk', id),
    name,
    publicKey,
    fingerprint,
    createdAt,
  }))
}

/** @throws with SQLSTATE 23505 when the person has added the key before. */
export async function insertSshKey(prisma: Prisma, userId: Id<'usr'>, key: SshKey): Promise<void> {
  const { id, ...fields } = key
  await prisma.sshKey.create({ data: { ...fields, id: idToUuid(id), userId: idToUuid(userId) } })
}

/** @returns whether the person had a key of that id */
export async function deleteSshKey(
  prisma: Prisma,
  userId: Id<'usr'>,
  id: Id<'ssk'>,
): Promise<boolean> {
  const { count } = await prisma.sshKey.deleteMany({
    where: { id: idToUuid(id), userId: idToUuid(userId) },
  })
  return count > 0
}
