import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createClientAddress } from './client-address.ts'

const PROXIES = ['10.0.0.0/8', '192.0.2.1/32', '2001:db8:1::/48']
const addressOf = createClientAddress({ trustedProxies: PROXIES, isProduction: true })

function from(remoteAddress: string | undefined, forwarded?: string | string[], more = {}) {
  const headers = {
    ...more,
    ...(forwarded === undefined ? {} : { 'x-forwarded-for': forwarded as string }),
  }
  return { socket: { remoteAddress }, headers }
}

test.each([
  ['no proxy', '203.0.113.9', '198.51.100.1', '203.0.113.9'],
  ['no header', '10.0.0.1', undefined, '10.0.0.1'],
  ['one proxy', '10.0.0.1', '198.51.100.1', '198.51.100.1'],
  ['several proxies', '10.0.0.1', '198.51.100.1, 192.0.2.1,10.9.9.9', '198.51.100.1'],
  ['an address invented by the client', '10.0.0.1', '127.0.0.1, 198.51.100.1', '198.51.100.1'],
  [
    'a proxy invented by the client',
    '10.0.0.1',
    '10.0.0.7, 198.51.100.1, 10.2.2.2',
    '198.51.100.1',
  ],
  ['a client among the proxies', '10.0.0.1', '10.1.1.1, 10.2.2.2', '10.1.1.1'],
  ['text', '10.0.0.1', '198.51.100.1, unknown', '10.0.0.1'],
  ['text left of a proxy', '10.0.0.1', 'unknown, 10.2.2.2', '10.2.2.2'],
  ['text left of the client', '10.0.0.1', '<script>, 198.51.100.1', '198.51.100.1'],
  ['nothing at the end', '10.0.0.1', '198.51.100.1,', '10.0.0.1'],
  ['nothing', '10.0.0.1', '', '10.0.0.1'],
  ['commas alone', '10.0.0.1', ',,,', '10.0.0.1'],
  ['a port', '10.0.0.1', '198.51.100.1:4000', '10.0.0.1'],
  ['brackets', '10.0.0.1', '[2001:db8:2::1]', '10.0.0.1'],
  ['a zone', '10.0.0.1', 'fe80::1%eth0', '10.0.0.1'],
  ['another number of the same', '10.0.0.1', '0xc6336401', '10.0.0.1'],
  ['zeros before', '10.0.0.1', '198.051.100.001', '10.0.0.1'],
  ['two headers', '10.0.0.1', ['127.0.0.1', '198.51.100.1'], '198.51.100.1'],
  ['IPv4 of a socket for both', '::ffff:10.0.0.1', '198.51.100.1', '198.51.100.1'],
  ['a stranger of a socket for both', '::ffff:203.0.113.9', '198.51.100.1', '203.0.113.9'],
  ['IPv4 in IPv6', '10.0.0.1', '198.51.100.1, ::ffff:10.2.2.2', '198.51.100.1'],
  ['IPv4 in IPv6 in hexadecimal', '10.0.0.1', '198.51.100.1, ::ffff:a02:202', '198.51.100.1'],
  ['a client of IPv4 in IPv6', '10.0.0.1', '::FFFF:198.51.100.1', '198.51.100.1'],
  ['IPv6', '2001:db8:1::1', '2001:DB8:0002:0:0::1', '2001:db8:2::1'],
  ['IPv6 proxies', '10.0.0.1', '2001:db8:2::1, 2001:db8:1:ffff::3', '2001:db8:2::1'],
  ['a peer that is gone', undefined, '198.51.100.1', 'unknown'],
])('%s: from %s with %j it is %s', (_what, peer, forwarded, expected) => {
  expect(addressOf(from(peer, forwarded))).toBe(expected)
})

test('no other header says who asks', () => {
  const more = { forwarded: 'for=198.51.100.1', 'x-real-ip': '198.51.100.1', via: '198.51.100.1' }
  expect(addressOf(from('10.0.0.1', undefined, more))).toBe('10.0.0.1')
})

test('without trusted proxies no header changes anything, not even from this machine', () => {
  const direct = createClientAddress({ trustedProxies: [], isProduction: false })
  expect(direct(from('127.0.0.1', '198.51.100.1'))).toBe('127.0.0.1')
  expect(direct(from('::ffff:127.0.0.1', '198.51.100.1'))).toBe('127.0.0.1')
})

test('whatever a client puts before what its proxy appends, the answer is the same', () => {
  const entry = fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.constant('10.0.0.3'))
  fc.assert(
    fc.property(fc.array(entry), (invented) => {
      const forwarded = [...invented, '198.51.100.1', '10.2.2.2'].join(', ')
      expect(addressOf(from('10.0.0.1', forwarded))).toBe('198.51.100.1')
    }),
  )
})

test.each([
  ['10.0.0.1', false, 'is not a CIDR'],
  ['proxy/8', false, 'is not a CIDR'],
  ['10.0.0.0/33', false, 'is not a CIDR'],
  ['::ffff:10.0.0.0/104', false, 'write it as IPv4'],
  ['0.0.0.0/0', true, 'too wide'],
  ['128.0.0.0/1', true, 'too wide'],
  ['::/0', true, 'too wide'],
])('%s (production: %s) is refused: it %s', (cidr, isProduction, message) => {
  const create = () => createClientAddress({ trustedProxies: [cidr], isProduction })
  expect(create).toThrow(`BERTH_TRUSTED_PROXIES: ${cidr}`)
  expect(create).toThrow(message)
})

test('in development every peer may be a proxy', () => {
  const all = createClientAddress({ trustedProxies: ['0.0.0.0/0'], isProduction: false })
  expect(all(from('203.0.113.9', '198.51.100.1'))).toBe('198.51.100.1')
})
