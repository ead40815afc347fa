import { createHmac, hash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import type { Sql, SqlDatabase } from '@berth/platform/database'
import type { SecretEnvelope } from '@berth/platform/envelope'
import { pepperPlace } from '../domain/sealed-places.ts'
import * as store from '../store/peppers.ts'

/** What is kept of a secret. */
export type SecretHash = { readonly hash: Uint8Array; readonly pepperId: number }

/**
 * Secrets that are shown once, and kept as a keyed hash: HMAC-SHA256 under a pepper, which is at rest
 * as an envelope. Without the keys' files nobody can try a guess on a copy of the database.
 */
export type Secrets = {
  /** Makes the first pepper, and opens those there are. */
  ensurePepper(): Promise<void>
  /**
   * With the newest pepper that is committed, whoever added it.
   *
   * @param of the row's id: the hash is good for no other row
   */
  hash(sql: Sql, of: string, digest: Uint8Array): Promise<SecretHash>
  /** In a time that tells nothing of where they differ. */
  matches(of: string, digest: Uint8Array, kept: SecretHash): Promise<boolean>
}

export function createSecrets({
  database,
  envelope,
}: {
  database: Pick<SqlDatabase, 'sql' | 'sqlTransaction'>
  envelope: SecretEnvelope
}): Secrets {
  const peppers = new Map<number, Uint8Array>()

  return {
    async ensurePepper() {
      await database.sqlTransaction(async (sql) => {
        await store.lockPeppers(sql)
        if ((await store.newestPepper(sql)) === null) await addPepper(sql, envelope)
      })
      await load(database.sql)
    },
    async hash(sql, of, digest) {
      const pepperId = await store.newestPepper(sql)
      if (pepperId === null) throw new Error('the pepper was not made at the start')
      return { hash: keyed(await pepperOf(sql, pepperId), of, digest), pepperId }
    },
    async matches(of, digest, kept) {
      const pepper = await pepperOf(database.sql, kept.pepperId)
      return timingSafeEqual(keyed(pepper, of, digest), kept.hash)
    },
  }

  /** One that was added since the start is looked for. */
  async function pepperOf(sql: Sql, id: number): Promise<Uint8Array> {
    if (!peppers.has(id)) await load(sql)
    const pepper = peppers.get(id)
    if (!pepper) throw new Error(`there is no pepper ${id}`)
    return pepper
  }

  async function load(sql: Sql): Promise<void> {
    for (const { id, secretEnc } of await store.sealedPeppers(sql)) {
      if (!peppers.has(id)) peppers.set(id, await envelope.openBytes(secretEnc, pepperPlace(id)))
    }
  }
}

/** Under the lock of `lockPeppers`. @returns the id of the new one, with which secrets are hashed from its commit on */
export async function addPepper(sql: Sql, envelope: SecretEnvelope): Promise<number> {
  const id = ((await store.newestPepper(sql)) ?? 0) + 1
  await store.insertPepper(sql, id, await envelope.seal(randomBytes(32), pepperPlace(id)))
  return id
}

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** 43 letters and digits, which is 256 bits. */
export function newSecret(): string {
  return Array.from({ length: 43 }, () => DIGITS.charAt(randomInt(DIGITS.length))).join('')
}

/** What is hashed of a secret: so much of it a service may be told that need not know it. */
export function digestOf(secret: string): Uint8Array {
  return hash('sha256', secret, 'buffer')
}

function keyed(pepper: Uint8Array, of: string, digest: Uint8Array): Buffer {
  return createHmac('sha256', pepper).update(`berth/secret/v1/${of}/`).update(digest).digest()
}
