import { randomInt } from 'node:crypto'
import { newId } from '@berth/platform/ids'
import { expect, test } from 'vitest'
import { type ApiKeyParts, apiKeyPrefix, formatApiKey, parseApiKey } from './api-key.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const any = () => ALPHABET.charAt(randomInt(62))

function newParts(): ApiKeyParts {
  return { environment: 'live', id: newId('key'), secret: Array.from({ length: 43 }, any).join('') }
}

test('what was formatted is parsed to the same', () => {
  for (let i = 0; i < 200; i++) {
    const parts = newParts()
    const text = formatApiKey(parts)
    expect(text).toMatch(/^berth_live_\w{26}_\w{43}_\w{6}$/)
    expect(text.startsWith(`${apiKeyPrefix(parts)}_`)).toBe(true)
    expect(parseApiKey(text)).toEqual(parts)
  }
})

test('a key of a known text keeps its checksum: keys outlive the build', () => {
  const parts: ApiKeyParts = {
    environment: 'test',
    id: 'key_01h455vb4pex5vsknk084sn02q',
    secret: 'A'.repeat(43),
  }
  expect(formatApiKey(parts)).toBe(`berth_test_01h455vb4pex5vsknk084sn02q_${'A'.repeat(43)}_3lZ9He`)
})

test('no single mistyped, dropped, doubled or swapped character passes', () => {
  const text = formatApiKey(newParts())
  const wrong = new Set<string>()
  for (let i = 0; i < text.length; i++) {
    for (const other of `${ALPHABET}_ `) wrong.add(text.slice(0, i) + other + text.slice(i + 1))
    wrong.add(text.slice(0, i) + text.slice(i + 1))
    wrong.add(text.slice(0, i) + text.charAt(i) + text.slice(i))
    wrong.add(text.slice(0, i) + text.charAt(i + 1) + text.charAt(i) + text.slice(i + 2))
  }
  wrong.delete(text)
  expect(wrong.size).toBeGreaterThan(5_000)
  for (const it of wrong) expect(parseApiKey(it), it).toBeNull()
})

test.each([
  '',
  'berth_',
  'berth_live___',
  `berth_live_${'0'.repeat(26)}_${'x'.repeat(43)}_000000`,
  'berth_prod_x',
  'x'.repeat(1_000_000),
  `berth_live_${'_'.repeat(100_000)}`,
])('a made-up one is none', (text) => {
  expect(parseApiKey(text)).toBeNull()
  expect(parseApiKey(`${formatApiKey(newParts())}\n`)).toBeNull()
})
