import {
  createCipheriv,
  createDecipheriv,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'

declare const encrypted: unique symbol

/** Text that only `createEnvelope().seal` makes: the one thing a secret column may be given. */
export type Encrypted<T> = string & { readonly [encrypted]: T }

/** Where a secret stands; it opens nowhere else. */
export type Aad = {
  readonly table: string
  readonly column: string
  /** Key of the row. */
  readonly row: string
  /** Null for what belongs to the platform. */
  readonly organizationId: string | null
}

/** The text is not what was sealed here, under this key, for this place; or its form is unknown. */
export class EnvelopeError extends Error {
  override readonly name = 'EnvelopeError'
  readonly reason: 'MALFORMED' | 'UNKNOWN_VERSION' | 'UNKNOWN_KEY' | 'REFUSED'

  constructor(reason: EnvelopeError['reason'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

export type SecretEnvelope = {
  seal(plain: string | Uint8Array, aad: Aad): Promise<Encrypted<string>>
  /** @throws {EnvelopeError} */
  open(sealed: string, aad: Aad): Promise<string>
  /** @throws {EnvelopeError} */
  openBytes(sealed: string, aad: Aad): Promise<Buffer>
  /**
   * The same secret with its data key wrapped by the current key-encryption key; the same text when
   * it is already. @throws {EnvelopeError} when it does not open here.
   */
  rewrap(sealed: string, aad: Aad): Promise<Encrypted<string>>
}

/** Port: what wraps data keys. A local file here; a cloud's key service elsewhere. */
export type KekProvider = {
  /** Id of the key that `wrap` uses now. */
  currentId(): Promise<string>
  wrap(dataKey: Uint8Array): Promise<{ kekId: string; wrapped: Uint8Array }>
  /** @throws {EnvelopeError} UNKNOWN_KEY or REFUSED. */
  unwrap(kekId: string, wrapped: Uint8Array): Promise<Uint8Array>
}

/**
 * Secrets at rest, `v1.<kek id>.<wrapped data key>.<nonce>.<ciphertext and tag>.<commitment>`, each
 * part in base64url. A fresh 32-byte data key per secret; from it HKDF-SHA256 gives the AES-256-GCM
 * key and the commitment, without which GCM would let one ciphertext open under two keys.
 */
export function createEnvelope(kek: KekProvider): SecretEnvelope {
  async function openParts(parts: Parts, aad: Aad): Promise<{ plain: Buffer; dataKey: Buffer }> {
    const dataKey = Buffer.from(await kek.unwrap(parts.kekId, parts.wrapped))
    const { key, commitment } = derive(dataKey)
    if (!timingSafeEqual(commitment, parts.commitment)) {
      throw new EnvelopeError('REFUSED', 'the data key is not the one this was sealed with')
    }
    return { plain: decrypt(key, parts, aad), dataKey }
  }
  async function openBytes(sealed: string, aad: Aad): Promise<Buffer> {
    const { plain, dataKey } = await openParts(parse(sealed), aad)
    dataKey.fill(0)
    return plain
  }

  return {
    async seal(plain, aad) {
      const dataKey = randomBytes(KEY_BYTES)
      const { key, commitment } = derive(dataKey)
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bytesOf(aad))
      const body = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
      const { kekId, wrapped } = await kek.wrap(dataKey)
      dataKey.fill(0)
      return format({ kekId, wrapped, nonce, body, commitment })
    },
    openBytes,
    async open(sealed, aad) {
      return new TextDecoder('utf-8', { fatal: true }).decode(await openBytes(sealed, aad))
    },
    async rewrap(sealed, aad) {
      const parts = parse(sealed)
      // Opened first: what was tampered with must not be given a new, valid wrapping.
      const { plain, dataKey } = await openParts(parts, aad)
      plain.fill(0)
      if (parts.kekId === (await kek.currentId())) return sealed as Encrypted<string>
      const wrapping = await kek.wrap(dataKey)
      dataKey.fill(0)
      return format({ ...parts, ...wrapping })
    },
  }
}

type Parts = {
  kekId: string
  wrapped: Uint8Array
  nonce: Uint8Array
  /** Ciphertext, then the 16-byte tag. */
  body: Uint8Array
  commitment: Uint8Array
}

type Four<T> = [T, T, T, T]

const VERSION = 'v1'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

function format({ kekId, wrapped, nonce, body, commitment }: Parts): Encrypted<string> {
  const parts = [wrapped, nonce, body, commitment].map((it) =>
    Buffer.from(it).toString('base64url'),
  )
  return [VERSION, kekId, ...parts].join('.') as Encrypted<string>
}

function parse(sealed: string): Parts {
  const [version, kekId = '', ...fields] = sealed.split('.')
  if (version !== VERSION) {
    const shown = /^v\d{1,6}$/.test(version ?? '') ? version : 'of no known form'
    throw new EnvelopeError('UNKNOWN_VERSION', `the envelope is ${shown}; ${VERSION} is understood`)
  }
  if (fields.length !== 4 || kekId === '') {
    throw new EnvelopeError('MALFORMED', 'an envelope has six parts')
  }
  const [wrapped, nonce, body, commitment] = fields.map(fromBase64Url) as Four<Buffer>
  if (nonce.length !== NONCE_BYTES || body.length < TAG_BYTES || commitment.length !== KEY_BYTES) {
    throw new EnvelopeError('MALFORMED', 'a part of the envelope has a wrong length')
  }
  return { kekId, wrapped, nonce, body, commitment }
}

function fromBase64Url(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  // Node skips what it cannot read, and the last character has bits to spare.
  if (bytes.toString('base64url') !== text) {
    throw new EnvelopeError('MALFORMED', 'a part of the envelope is not base64url')
  }
  return bytes
}

function decrypt(key: Buffer, { nonce, body }: Parts, aad: Aad): Buffer {
  const at = body.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, nonce)
    .setAAD(bytesOf(aad))
    .setAuthTag(body.subarray(at))
  try {
    return Buffer.concat([decipher.update(body.subarray(0, at)), decipher.final()])
  } catch (cause) {
    throw new EnvelopeError('REFUSED', 'the secret was changed, or was sealed for another place', {
      cause,
    })
  }
}

function derive(dataKey: Uint8Array): { key: Buffer; commitment: Buffer } {
  const of = (purpose: string) =>
    Buffer.from(hkdfSync('sha256', dataKey, '', `berth/envelope/v1/${purpose}`, KEY_BYTES))
  return { key: of('key'), commitment: of('commitment') }
}

/** JSON quotes each field, so that no two places give the same bytes. */
function bytesOf({ table, column, row, organizationId }: Aad): Buffer {
  return Buffer.from(JSON.stringify([VERSION, table, column, row, organizationId]))
}
