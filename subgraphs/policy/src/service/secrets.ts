import { createHmac, hash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import type { SqlDatabase } from '@berth/platform/database'
import type { Aad, SecretEnvelope } from '@berth/platform/envelope'
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
  /** @param of the row's id: the hash is good for no other row */
  hash(of: string, digest: Uint8Array): SecretHash
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
        if ((await store.sealedPeppers(sql)).length > 0) return
        await store.addPepper(sql, 1, await envelope.seal(randomBytes(32), placeOf(1)))
      })
      await load()
    },
    hash(of, digest) {
      const pepperId = Math.max(...peppers.keys())
      const pepper = peppers.get(pepperId)
      if (!pepper) throw new Error('the pepper was not made at the start')
      return { hash: keyed(pepper, of, digest), pepperId }
    },
    async matches(of, digest, kept) {
      // Another replica may have started with a newer one.
      if (!peppers.has(kept.pepperId)) await load()
      const pepper = peppers.get(kept.pepperId)
      if (!pepper) throw new Error(`there is no pepper ${kept.pepperId}`)
      return timingSafeEqual(keyed(pepper, of, digest), kept.hash)
    },
  }

  async function load(): Promise<void> {
    for (const { id, secretEnc } of await store.sealedPeppers(database.sql)) {
      if (!peppers.has(id)) peppers.set(id, await envelope.openBytes(secretEnc, placeOf(id)))
    }
  }
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

function placeOf(id: number): Aad {
  return { table: 'peppers', column: 'secret_enc', row: String(id), organizationId: null }
}
