import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DomainError } from './errors.ts'
import { readSshPrivateKey } from './ssh/private-key.ts'
import { readWire, sshString } from './ssh/wire.ts'
import {
  newSshKeyPair,
  parseSshPublicKey,
  signSshCertificate,
  sshFingerprint,
} from './ssh-certificate.ts'

// Made by ssh-keygen, and the fingerprints are what ssh-keygen -l prints.
const KEYS = {
  ed25519: [
    'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINmChGoDcCt1yX0vrcKrqlOpsN1nfFAS8CgjW8fSZiTf a person',
    'SHA256:7d3Yb+y93Dyl2bKNMOBso/xkOnbORLjysl10UnqWC/0',
  ],
  ecdsa: [
    'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHR9RCVvxfngxaTytQrpr+T+V3E5Vo7ThyAkVO3JewQf5ZFe7amBDNDp7RthJX/1UAec3lbYG7RTnNnf45ofeoM= a person',
    'SHA256:euTzPBfjlyJ0nU0j4IeWDvZKQuwYVJiJua6gKMSRaMY',
  ],
  rsa: [
    'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDYzrpm7hxWzwdKm/eZL/tclm0fTiyQvL/oMjYgGvqxBSyJ1NfTe4GnMtZ2tQNMWULQ6UjItXkek4XijnZwYEp7Lh68xLrwMLA5POyApWC1xdn4VL78k287jXogxUgqspWiGsQ4AUb7mLp0xCXmew4cm7vjRIEmbzbIjeP/TAh6vS8cQaC7J40gVCy5Hfcqjji+PcG9Jks6W4zv7Wg/zz/PQctaDqvnsEpcRAHvZtxBrCuuaGXZITOzcnpdmmL34nBFDDpWz+DwrHt3ZH9xERDAjykeyFSTRqcWj0+KrUWK27hELbxozocKKnnvOfQKbpsb2gublpe3/mlwvRXlapZKCYB3RIsnX2S4xtNU4P45+FXo9GiwJmmyiwu7/1zcQuikI/jXKaNSE5y4QrU7x0Gz9XsPuGaadRVwccQgbRh0nN22ZmXFor+KiKAyxYcYitmdz8xfeYHcm81vb0Y86alwcOi8n8gDzP/rF6NjuoOdDPniTsw61fEb3PZo2w88rw0= a person',
    'SHA256:1upsL4/e9NaIxFBmpKqVsnvrv26Ra4+CjRIF/aA1KJ0',
  ],
} as const

const request = () => ({
  caPrivateKey: newSshKeyPair().privateKey,
  publicKey: newSshKeyPair().publicKey,
  keyId: 'tms_1',
  principals: ['alc_1@node-1'],
  validAfter: new Date('2026-01-01T00:00:00Z'),
  validBefore: new Date('2026-01-01T00:05:00Z'),
  extensions: ['permit-pty'] as const,
  serial: 7n,
})

test('a certificate says what was asked for and no more, and its authority signed all of it', () => {
  const asked = request()
  const blob = Buffer.from(signSshCertificate(asked).split(' ')[1] ?? '', 'base64')
  const wire = readWire(blob)
  expect(wire.text()).toBe('ssh-ed25519-cert-v01@openssh.com')
  expect(wire.string()).toHaveLength(32)
  expect(
    sshFingerprint(
      `x ${Buffer.concat([sshString('ssh-ed25519'), sshString(wire.string())]).toString('base64')}`,
    ),
  ).toBe(sshFingerprint(asked.publicKey))
  expect(wire.uint64()).toBe(7n)
  expect(wire.uint32()).toBe(1)
  expect(wire.text()).toBe('tms_1')
  expect(wire.string()).toEqual(sshString('alc_1@node-1'))
  expect(wire.uint64()).toBe(1_767_225_600n)
  expect(wire.uint64()).toBe(1_767_225_900n)
  expect(wire.text()).toBe('')
  expect(wire.string()).toEqual(Buffer.concat([sshString('permit-pty'), sshString('')]))
  expect(wire.text()).toBe('')
  const { key, publicBlob } = readSshPrivateKey(asked.caPrivateKey)
  expect(wire.string()).toEqual(publicBlob)
  const signed = blob.subarray(0, blob.length - wire.left)
  const signature = readWire(wire.string())
  wire.end()
  expect(signature.text()).toBe('ssh-ed25519')
  expect(verify(null, signed, createPublicKey(key), signature.string())).toBe(true)
})

test.each([
  ['no principal', { principals: [] }],
  ['an empty principal', { principals: [''] }],
  ['two principals in one', { principals: ['admin@a,admin@b'] }],
  ['a principal with a line end', { principals: ['admin@a\nadmin@b'] }],
  ['a key id with a line end', { keyId: 'tms_1\n' }],
  ['an empty interval', { validBefore: new Date('2026-01-01T00:00:00Z') }],
  ['no time', { validAfter: new Date(Number.NaN) }],
  ['a key that is not Ed25519', { publicKey: KEYS.rsa[0] }],
])('%s is not signed', (_what, change) => {
  expect(() => signSshCertificate({ ...request(), ...change })).toThrow(RangeError)
})

test('an authority that is not an unencrypted Ed25519 key signs nothing', () => {
  const pkcs8 = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' })
  for (const caPrivateKey of ['', 'x', pkcs8.toString(), newSshKeyPair().publicKey]) {
    expect(() => signSshCertificate({ ...request(), caPrivateKey })).toThrow('Ed25519 private key')
  }
})

test.each(Object.entries(KEYS))(
  '%s: the key ssh-keygen made is read, with its fingerprint',
  (_type, [line, fingerprint]) => {
    const [type, base64] = line.split(' ')
    const parsed = parseSshPublicKey(`  ${line}\n`)
    expect(parsed).toEqual({
      type,
      publicKey: `${type} ${base64}`,
      comment: 'a person',
      fingerprint,
    })
  },
)

test('security keys are read, and only those made for SSH', () => {
  const key = (application: string) =>
    Buffer.concat([
      sshString('sk-ssh-ed25519@openssh.com'),
      sshString(Buffer.alloc(32, 7)),
      sshString(application),
    ]).toString('base64')
  expect(parseSshPublicKey(`sk-ssh-ed25519@openssh.com ${key('ssh:')}`).type).toMatch(/^sk-/)
  expect(() => parseSshPublicKey(`sk-ssh-ed25519@openssh.com ${key('https:x')}`)).toThrow(
    DomainError,
  )
})

const rsaLine = (bits: number) => {
  const { n = '', e = '' } = generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({
    format: 'jwk',
  })
  const positive = (text: string) => {
    const bytes = Buffer.from(text, 'base64url')
    return sshString((bytes[0] ?? 0) < 128 ? bytes : Buffer.concat([Buffer.from([0]), bytes]))
  }
  return `ssh-rsa ${Buffer.concat([sshString('ssh-rsa'), positive(e), positive(n)]).toString('base64')}`
}

test('RSA keys of 2048 bits are strong enough, of 1024 they are not', () => {
  expect(parseSshPublicKey(rsaLine(2_048)).type).toBe('ssh-rsa')
  expect(() => parseSshPublicKey(rsaLine(1_024))).toThrow('1024 bits is too weak')
})

const [ed25519] = KEYS.ed25519
const flipped = (() => {
  const [type = '', base64 = ''] = KEYS.ecdsa[0].split(' ')
  const blob = Buffer.from(base64, 'base64')
  blob[blob.length - 1] = (blob.at(-1) ?? 0) ^ 1
  return `${type} ${blob.toString('base64')}`
})()

test.each([
  ['nothing', ''],
  ['a word', 'hello'],
  ['options', `command="id" ${ed25519}`],
  ['an authority', `cert-authority ${ed25519}`],
  ['two lines', `${ed25519}\n${ed25519}`],
  ['a carriage return', `${ed25519}\rcommand="id" ${ed25519}`],
  ['a private key', newSshKeyPair().privateKey],
  ['a private key on one line', '-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaA== -----END'],
  ['a certificate', signSshCertificate(request())],
  ['DSA', 'ssh-dss AAAAB3NzaC1kc3M='],
  ['a type that is not the key’s', ed25519.replace('ssh-ed25519 ', 'ssh-rsa ')],
  ['half a key', ed25519.slice(0, 60)],
  [
    'a key and more',
    `ssh-ed25519 ${Buffer.concat([Buffer.from(ed25519.split(' ')[1] ?? '', 'base64'), Buffer.alloc(1)]).toString('base64')}`,
  ],
  ['a point off its curve', flipped],
  ['other base64', ed25519.replace(/(?<=AAAA.*)A/, '_')],
  ['too much', `${ed25519}${' x'.repeat(10_000)}`],
])('%s is refused, with what to paste instead', (_what, text) => {
  try {
    parseSshPublicKey(text)
    expect.unreachable()
  } catch (error) {
    expect(error).toBeInstanceOf(DomainError)
    expect(error).toMatchObject({ code: 'BAD_INPUT' })
    expect((error as Error).message).toContain('id_ed25519.pub')
  }
})

test('whatever is pasted gives one safe line or BAD_INPUT', () => {
  const mutated = fc
    .tuple(
      fc.constantFrom(...Object.values(KEYS).map(([line]) => line)),
      fc.nat(400),
      fc.string({ maxLength: 3, unit: 'binary' }),
    )
    .map(
      ([line, at, piece]) =>
        line.slice(0, at % line.length) + piece + line.slice((at % line.length) + 1),
    )
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), mutated), (text) => {
      try {
        expect(parseSshPublicKey(text).publicKey).toMatch(/^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$/)
      } catch (error) {
        expect(error).toBeInstanceOf(DomainError)
      }
    }),
    { numRuns: 500 },
  )
})
