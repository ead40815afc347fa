import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { DomainError } from '@berth/platform/errors'
import { expect, test } from 'vitest'
import { CHANNEL, decodeClientFrame, encodeServerFrame } from './protocol.ts'

test('frames are the bytes that the page describes', () => {
  expect(decodeClientFrame(Buffer.from('006c73', 'hex'))).toEqual({
    type: 'stdin',
    bytes: Buffer.from('ls'),
  })
  expect(decodeClientFrame(Buffer.from('0300780028', 'hex'))).toEqual({
    type: 'resize',
    columns: 120,
    rows: 40,
  })
  expect(decodeClientFrame(Buffer.from('040000000000010000', 'hex'))).toEqual({
    type: 'ack',
    offset: 65_536,
  })
  expect(decodeClientFrame(Buffer.from('05', 'hex'))).toEqual({ type: 'close' })
  expect(
    encodeServerFrame({ type: 'output', stream: 'stdout', bytes: Buffer.from('ok') }).toString(
      'hex',
    ),
  ).toBe('016f6b')
  expect(
    encodeServerFrame({ type: 'output', stream: 'stderr', bytes: Buffer.from('no') }).toString(
      'hex',
    ),
  ).toBe('026e6f')
  expect(encodeServerFrame({ type: 'ack', offset: 2 ** 40 }).toString('hex')).toBe(
    '040000010000000000',
  )
  expect(encodeServerFrame({ type: 'close', code: 0, signal: null }).toString()).toBe(
    '\x05{"code":0,"signal":null}',
  )
})

test('the page names every channel by its number', () => {
  const page = readFileSync(new URL('../../doc/terminal-protocol.md', import.meta.url), 'utf8')
  for (const [name, number] of Object.entries(CHANNEL)) {
    expect(page, name).toMatch(new RegExp(`^\\| ${number} \\| ${name.toLowerCase()} \\|`, 'm'))
  }
})

test('whatever is received is a frame or BAD_INPUT, which does not repeat a token', () => {
  for (let times = 0; times < 5_000; times++) {
    const frame = randomBytes(1 + (times % 12))
    frame[0] = (frame[0] ?? 0) % 12
    try {
      decodeClientFrame(frame)
    } catch (error) {
      expect(error).toBeInstanceOf(DomainError)
    }
  }
  const secret = 'berth-secret-token'
  for (const text of [
    `{"token":"${secret}"`,
    `{"token":"${secret}","columns":0,"rows":1}`,
    `{"${secret}":1}`,
  ]) {
    try {
      decodeClientFrame(Buffer.from(`\x07${text}`))
      expect.unreachable()
    } catch (error) {
      expect((error as Error).message).not.toContain(secret)
    }
  }
})
