import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { EnvelopeError, type KekProvider } from './envelope.ts'
import type { KeyEncryptionKeys } from './trusted-keys.ts'

export type { KekProvider } from './envelope.ts'
export type { KeyEncryptionKeys } from './trusted-keys.ts'

/**
 * Wraps with AES-256-GCM under keys from a local file, into nonce, wrapped key and tag. Old keys stay
 * until everything is rewrapped.
 *
 * @param source the keys, or what reads them: then it is read for each that is wrapped, and for a key
 *   that is not known yet, so that keys are rotated without a restart
 * @throws {TypeError} when the current key is missing or a key is not 32 bytes
 */
export function localFileKek(source: KeyEncryptionKeys | (() => KeyEncryptionKeys)): KekProvider {
  const read = () => checked(typeof source === 'function' ? source() : source)
  let loaded = read()

  return {
    async currentId() {
      loaded = read()
      return loaded.current
    },
    async wrap(dataKey) {
      loaded = read()
      const { current, currentKey } = loaded
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', currentKey, nonce).setAAD(aadOf(current))
      const parts = [nonce, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]
      return { kekId: current, wrapped: Buffer.concat(parts) }
    },
    async unwrap(kekId, wrapped) {
      if (!loaded.byId.has(kekId)) loaded = read()
      const key = loaded.byId.get(kekId)
      if (!key) throw new EnvelopeError('UNKNOWN_KEY', 'no such key-encryption key is loaded')
      if (wrapped.length !== WRAPPED_BYTES) {
        throw new EnvelopeError('MALFORMED', 'the wrapped data key has a wrong length')
      }
      const decipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(0, NONCE_BYTES))
        .setAAD(aadOf(kekId))
        .setAuthTag(wrapped.subarray(-TAG_BYTES))
      try {
        const body = wrapped.subarray(NONCE_BYTES, -TAG_BYTES)
        return Buffer.concat([decipher.update(body), decipher.final()])
      } catch (cause) {
        throw new EnvelopeError('REFUSED', 'the wrapped data key was changed', { cause })
      }
    },
  }
}

const NONCE_BYTES = 12
const TAG_BYTES = 16
const WRAPPED_BYTES = NONCE_BYTES + 32 + TAG_BYTES

function checked({ current, keys }: KeyEncryptionKeys) {
  const byId = new Map(Object.entries(keys))
  for (const [id, key] of byId) assertUsable(id, key)
  const currentKey = byId.get(current)
  if (!currentKey) throw new TypeError(`the current key-encryption key ${current} is missing`)
  return { current, currentKey, byId }
}

function assertUsable(id: string, key: Uint8Array): void {
  // A dot would end the id inside an envelope.
  if (!/^[\w-]{1,64}$/.test(id) || key.length !== 32) {
    throw new TypeError(`key-encryption key ${id} must have a plain id and 32 bytes`)
  }
}

function aadOf(kekId: string): Buffer {
  return Buffer.from(`berth/kek/v1/${kekId}`)
}
