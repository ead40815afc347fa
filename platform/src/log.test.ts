import { expect, test } from 'vitest'
import { createLog, isSecretName } from './log.ts'

function captured() {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  return { lines, log: createLog({ service: 's', instance: 's-1', level: 'trace', destination }) }
}

const SECRET = 'hunter2-very-secret'

test.each([
  'authorization',
  'Authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'token',
  'accessToken',
  'refresh_token',
  'password',
  'PGPASSWORD',
  'clientSecret',
  'key',
  'apiKey',
  'API_KEY',
  'private_key',
  'berth-actor',
  'berthActor',
  'payload_enc',
  'cursorKey',
  'jwk',
])('a field named %s is redacted at any depth', (name) => {
  const { lines, log } = captured()
  log.info({ [name]: SECRET, a: { b: [{ [name]: SECRET }] } }, 'fields')
  log.child({ [name]: SECRET }).info('bindings')
  expect(lines).toHaveLength(2)
  expect(lines.join()).not.toContain(SECRET)
})

test.each(['requestId', 'keyId', 'monkey', 'tokens_used_at', 'code'])(
  'a field named %s is not',
  (name) => {
    expect(isSecretName(name)).toBe(false)
  },
)

test.each([
  ['a JWT', 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl', 'c2lnbmF0dXJl'],
  ['a bearer', `Bearer ${SECRET}`, SECRET],
  [
    'an API key',
    `berth_live_01h455vb4pex5vsknk084sn02q_${'k3'.repeat(21)}x_0aB9zZ`,
    'k3'.repeat(21),
  ],
  ['an API key that was cut short', `berth_dev_01h455vb4pex5vsknk084sn02q_k3k3k3`, 'k3k3k3'],
  ['an invitation', `berthinvite_01h455vb4pex5vsknk084sn02q_${'k3'.repeat(21)}x`, 'k3'.repeat(21)],
  ['a bearer at the beginning of a line', `failed\nBearer ${SECRET}`, SECRET],
  ['a URL with a password', `postgresql://app:${SECRET}@db:5432/berth`, SECRET],
  [
    'a private key',
    `-----BEGIN OPENSSH PRIVATE KEY-----\n${SECRET}\n-----END OPENSSH PRIVATE KEY-----`,
    SECRET,
  ],
])('%s is redacted in messages, errors and their causes', (_case, text, secret) => {
  const { lines, log } = captured()
  log.info(`received ${text} and more`)
  log.error({ err: new Error(`bad ${text}`, { cause: new Error(text) }) }, 'failed')
  log.warn({ url: text }, 'field')
  expect(lines).toHaveLength(3)
  expect(lines.join()).not.toContain(secret)
  for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
  expect(lines[0]).toContain('and more')
})

test('a line is JSON with service, instance, level and time, and takes bigint, dates and cycles', () => {
  const { lines, log } = captured()
  const cycle: Record<string, unknown> = { n: 1n, at: new Date(0) }
  cycle.self = cycle
  log.child({ requestId: 'r-1' }).warn({ cycle }, 'odd')
  expect(JSON.parse(lines[0] as string)).toMatchObject({
    service: 's',
    instance: 's-1',
    level: 'warn',
    requestId: 'r-1',
    msg: 'odd',
    cycle: { n: '1', at: '1970-01-01T00:00:00.000Z' },
  })
})
