import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseReturnTo } from './return-to.ts'

const HERE = new URL('https://berth.example')

test.each([
  ['/', '/'],
  ['/allocations', '/allocations'],
  ['/allocations?page=2&q=%2F%2Fevil.example#top', '/allocations?page=2&q=%2F%2Fevil.example#top'],
  ['/a/../b', '/b'],
  ['/login?next=https://evil.example', '/login?next=https://evil.example'],
  ['/@evil.example', '/@evil.example'],
])('%s is a path of this site', (text, expected) => {
  expect(parseReturnTo(text, HERE)).toBe(expected)
})

test.each([null, ''])('nothing is the start page', (text) => {
  expect(parseReturnTo(text, HERE)).toBe('/')
})

test.each([
  'https://evil.example',
  'HTTPS://evil.example/',
  'http:evil.example',
  'https:///evil.example',
  '//evil.example',
  '///evil.example',
  '////evil.example',
  '/\\evil.example',
  '\\/evil.example',
  '\\\\evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '/\r\n/evil.example',
  '\t//evil.example',
  ' //evil.example',
  '/ /evil.example',
  '\u0000//evil.example',
  '/\u0000/evil.example',
  '/a\\b',
  '/..//evil.example',
  '/.//evil.example',
  '/x/..//evil.example',
  '/%2e//evil.example',
  'javascript:alert(1)',
  'java\tscript:alert(1)',
  'data:text/html,x',
  'evil.example',
  './evil',
  '?x',
  '#x',
  '@evil.example',
  ':80',
  '/\u3002evil.example',
  '\uff0f\uff0fevil.example',
  '/\u2028/evil.example',
  `/${'a'.repeat(3_000)}`,
  '/a\r\nset-cookie: x=y',
])('%j is not, and is refused', (text) => {
  expect(() => parseReturnTo(text, HERE)).toThrow('path of this site')
})

test('whatever it lets through, a browser stays on this site', () => {
  const piece = fc.constantFrom(
    '/',
    '\\',
    '.',
    '..',
    '%2f',
    '%5c',
    '\t',
    ' ',
    '@',
    ':',
    'evil.example',
    'https:',
    '?',
    '#',
    'a',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      let path: string
      try {
        path = parseReturnTo(pieces.join(''), HERE)
      } catch {
        return
      }
      expect(new URL(path, HERE).origin).toBe(HERE.origin)
      expect(path).toMatch(/^\/(?![/\\])/)
    }),
    { numRuns: 5_000 },
  )
})
