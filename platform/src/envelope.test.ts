import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Aad, createEnvelope, EnvelopeError } from './envelope.ts'
import { type KekProvider, localFileKek } from './kek.ts'

const key = () => randomBytes(32)
const keys = { old: key(), new: key() }
const old = createEnvelope(localFileKek({ current: 'old', keys }))
const aad: Aad = { table: 'webhooks', column: 'secret', row: 'whk_1', organizationId: 'org_1' }

async function reasonOf(work: Promise<unknown>): Promise<string | undefined> {
  const error = await work.then(
    () => undefined,
    (it: unknown) => it,
  )
  if (error === undefined) return undefined
  return error instanceof EnvelopeError ? error.reason : String(error)
}

test('any text and any bytes come back, and never twice the same sealed text', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.uint8Array(), async (text, bytes) => {
      expect(await old.open(await old.seal(text, aad), aad)).toBe(text)
      const sealed = await old.seal(bytes, aad)
      expect(new Uint8Array(await old.openBytes(sealed, aad))).toEqual(bytes)
      expect(await old.seal(bytes, aad)).not.toBe(sealed)
    }),
    { numRuns: 50 },
  )
})

test.each([
  { table: 'api_keys' },
  { column: 'other' },
  { row: 'whk_2' },
  { organizationId: 'org_2' },
  { organizationId: null },
])('a secret moved to another place does not open there: %o', async (moved) => {
  const sealed = await old.seal('s3cret', aad)
  expect(await reasonOf(old.open(sealed, { ...aad, ...moved }))).toBe('REFUSED')
  expect(await reasonOf(old.rewrap(sealed, { ...aad, ...moved }))).toBe('REFUSED')
})

test.each([',', '|', '.', '\0', '","', '/'])(
  'moving the border of two fields over %j',
  async (mark) => {
    const sealed = await old.seal('s3cret', { ...aad, table: 'a', column: `b${mark}c` })
    const moved = { ...aad, table: `a${mark}b`, column: 'c' }
    expect(await reasonOf(old.open(sealed, moved))).toBe('REFUSED')
  },
)

test('a flipped bit at any byte of the text is refused', async () => {
  const sealed = Buffer.from(await old.seal('s3cret', aad))
  for (let at = 0; at < sealed.length; at += 1) {
    for (const mask of [1, 2, 4, 8, 16, 32, 64]) {
      const changed = Buffer.from(sealed)
      changed[at]! ^= mask
      const reason = await reasonOf(old.open(changed.toString(), aad))
      expect(reason, `byte ${at}, mask ${mask}`).toMatch(
        /^(MALFORMED|UNKNOWN_VERSION|UNKNOWN_KEY|REFUSED)$/,
      )
    }
  }
})

test('a flipped bit at any byte of any part, in valid base64url, is refused', async () => {
  const parts = (await old.seal('s3cret', aad)).split('.')
  for (let part = 2; part < parts.length; part += 1) {
    const bytes = Buffer.from(parts[part] ?? '', 'base64url')
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 0x80
      const text = parts.with(part, changed.toString('base64url')).join('.')
      expect(await reasonOf(old.open(text, aad)), `part ${part}, byte ${at}`).toBe('REFUSED')
    }
  }
})

test('the spare bits of a last base64url character are not a second spelling', async () => {
  const sealed = await old.seal('ab', aad)
  const parts = sealed.split('.')
  const nonce = parts[5] ?? ''
  // 32 bytes: the last character carries 4 bits of data and 2 to spare.
  const spelled = nonce.slice(0, -1) + nextCharacter(nonce.at(-1) ?? '')
  expect(Buffer.from(spelled, 'base64url')).toEqual(Buffer.from(nonce, 'base64url'))
  expect(await reasonOf(old.open(parts.with(5, spelled).join('.'), aad))).toBe('MALFORMED')
})

test('the data key must be the one committed to, even if the cipher would accept it', async () => {
  const first = await old.seal('first', aad)
  const second = (await old.seal('second', aad)).split('.')
  // Everything of the second but the commitment of the first.
  const mixed = second.with(5, first.split('.')[5] ?? '').join('.')
  expect(await reasonOf(old.open(mixed, aad))).toBe('REFUSED')
  // Another data key, correctly wrapped: caught by the commitment, before anything is decrypted.
  const swapped = second.with(2, first.split('.')[2] ?? '').join('.')
  await expect(old.open(swapped, aad)).rejects.toThrow('data key is not the one')
})

test('rewrapping changes the wrapping only, and the old key can go', async () => {
  const sealed = await old.seal('s3cret', aad)
  const both = createEnvelope(localFileKek({ current: 'new', keys }))
  const rewrapped = await both.rewrap(sealed, aad)
  expect(rewrapped.startsWith('v1.new.')).toBe(true)
  expect(rewrapped.split('.').slice(3)).toEqual(sealed.split('.').slice(3))
  expect(await both.rewrap(rewrapped, aad)).toBe(rewrapped)
  const onlyNew = createEnvelope(localFileKek({ current: 'new', keys: { new: keys.new } }))
  expect(await onlyNew.open(rewrapped, aad)).toBe('s3cret')
  expect(await reasonOf(onlyNew.open(sealed, aad))).toBe('UNKNOWN_KEY')
})

test('rewrapping refuses what was tampered with, rather than blessing it', async () => {
  const parts = (await old.seal('s3cret', aad)).split('.')
  const body = Buffer.from(parts[4] ?? '', 'base64url')
  body[0]! ^= 1
  const both = createEnvelope(localFileKek({ current: 'new', keys }))
  const tampered = parts.with(4, body.toString('base64url')).join('.')
  expect(await reasonOf(both.rewrap(tampered, aad))).toBe('REFUSED')
})

test.each([
  ['v2.a.b.c.d.e', 'UNKNOWN_VERSION', 'v2'],
  ['plain text', 'UNKNOWN_VERSION', 'of no known form'],
  ['', 'UNKNOWN_VERSION', 'of no known form'],
  ['v1.a.b', 'MALFORMED', 'six parts'],
  ['v1.a.AA.AA.AA.AA', 'MALFORMED', 'length'],
  ['v1.a.!.AA.AA.AA', 'MALFORMED', 'base64url'],
])('%j is reported as what it is, without its content', async (text, reason, words) => {
  expect(await reasonOf(old.open(text, aad))).toBe(reason)
  await expect(old.open(text, aad)).rejects.toThrow(words)
  if (text.length > 20) await expect(old.open(text, aad)).rejects.not.toThrow(text)
})

test('a sealed text says nothing of its secret but its length', async () => {
  const sealed = await old.seal('s3cret', aad)
  expect(Buffer.from(sealed.split('.')[4] ?? '', 'base64url')).toHaveLength('s3cret'.length + 16)
  expect(sealed).not.toContain(Buffer.from('s3cret').toString('base64url'))
})

test('a key service that is away is its own error, and not a refusal', async () => {
  const away: KekProvider = {
    currentId: async () => 'cloud',
    wrap: async () => Promise.reject(new Error('timeout')),
    unwrap: async () => Promise.reject(new Error('timeout')),
  }
  const sealed = await old.seal('s3cret', aad)
  expect(await reasonOf(createEnvelope(away).open(sealed, aad))).toBe('Error: timeout')
})

test('a key file that cannot be used is refused when it is loaded', () => {
  expect(() => localFileKek({ current: 'gone', keys })).toThrow('gone')
  expect(() => localFileKek({ current: 'a', keys: { a: randomBytes(16) } })).toThrow('32 bytes')
  expect(() => localFileKek({ current: 'a.b', keys: { 'a.b': key() } })).toThrow('plain id')
})

function nextCharacter(character: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return alphabet[alphabet.indexOf(character) + 1] ?? ''
}
