import { channel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createDialGuard } from './dial-guard.ts'

/** Every socket that this process opens, by whatever way. */
let sockets = 0
const count = () => void sockets++
beforeEach(() => {
  sockets = 0
  channel('net.client.socket').subscribe(count)
})
afterEach(() => void channel('net.client.socket').unsubscribe(count))

const EVERYTHING = [
  '0.0.0.0/0',
  '::/0',
  '10.0.0.0/8',
  '192.168.0.0/16',
  'fc00::/7',
  '127.0.0.0/8',
  '169.254.0.0/16',
]
const guardWith = (names: Record<string, string[]>, allowedCidrs = EVERYTHING) =>
  createDialGuard({
    allowedCidrs,
    production: false,
    resolve: async (name) => names[name] ?? Promise.reject(new Error('ENOTFOUND')),
  })
const bad = { code: 'BAD_TARGET' }
const timeoutMs = 1_000

const REFUSED_ADDRESSES = [
  ...[
    '127.0.0.1',
    '127.255.255.254',
    '0.0.0.0',
    '0.1.2.3',
    '169.254.169.254',
    '169.254.170.2',
    '169.254.0.1',
  ],
  ...[
    '224.0.0.1',
    '239.255.255.250',
    '240.0.0.1',
    '255.255.255.255',
    '192.0.0.192',
    '192.0.2.1',
    '192.88.99.1',
  ],
  ...['198.18.0.1', '198.51.100.1', '203.0.113.1', '100.100.100.200', '168.63.129.16'],
  ...[
    '::',
    '::1',
    '0:0:0:0:0:0:0:1',
    'fe80::1',
    'fec0::1',
    'ff02::1',
    'fd00:ec2::254',
    'fd20:ce::254',
  ],
  ...[
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:8.8.8.8',
    '::ffff:0:127.0.0.1',
    '::127.0.0.1',
    '::8.8.8.8',
  ],
  ...[
    '64:ff9b::7f00:1',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::1',
    '2002:7f00:1::',
    '2001:0:7f00:1::',
    '2001:db8::1',
  ],
  ...['100::1', '3fff::1', '5f00::1', '::ffff:a9fe:a9fe'],
]
const ODD_NOTATIONS = [
  ...[
    '127.1',
    '10.1',
    '2130706433',
    '0x7f000001',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '0127.0.0.01',
    '127.0.0.1.',
  ],
  ...[
    '8.8.8.8.',
    '0',
    '00',
    '1.1',
    '8.8.2056',
    '010.8.8.8',
    '0x0a.8.8.8',
    '256.256.256.256',
    '1.2.3.4.5',
  ],
  ...['[::1]', '::1%lo', 'fe80::1%eth0', '2000::1%eth0', '[2606:4700::1111]', '::ffff:0x7f.1'],
  ...[
    '',
    ' ',
    '.',
    '..',
    'a..b',
    '-a.example',
    'a-.example',
    'exa mple',
    'a\n.example',
    'a\0.example',
    'ⓔxample',
    '１２７.0.0.1',
  ],
  ...['user@host', 'host:22', 'http://host', 'a'.repeat(64), `${'a.'.repeat(127)}a`, '*', '%00'],
]

describe('with everything allowed, what is never dialed is not dialed', () => {
  test.each(REFUSED_ADDRESSES)('address %s, given as it is and through a name', async (address) => {
    const guard = guardWith({ 'node.example': [address], 'both.example': ['8.8.8.8', address] })
    for (const host of [address, 'node.example', 'both.example']) {
      await expect(guard.connect(host, 22, { timeoutMs })).rejects.toMatchObject(bad)
    }
    expect(sockets).toBe(0)
  })

  test.each(ODD_NOTATIONS)('notation %j', async (host) => {
    const guard = createDialGuard({
      allowedCidrs: EVERYTHING,
      production: false,
      resolve: async () => ['8.8.8.8'],
    })
    await expect(guard.connect(host, 22, { timeoutMs })).rejects.toMatchObject(bad)
    expect(sockets).toBe(0)
  })

  test.each([0, -1, 65_536, 1.5, Number.NaN])('port %d', async (port) => {
    await expect(guardWith({}).connect('8.8.8.8', port, { timeoutMs })).rejects.toMatchObject(bad)
    expect(sockets).toBe(0)
  })
})

test.each([
  [[], '8.8.8.8', false],
  [['8.8.8.0/24'], '8.8.8.8', true],
  [['8.8.8.0/24'], '8.8.9.8', false],
  [['10.1.0.0/16'], '10.1.2.3', true],
  [['10.1.0.0/16'], '10.2.2.3', false],
  [['100.64.0.0/10'], '100.70.1.1', true],
  [['0.0.0.0/0'], '8.8.8.8', true],
  [['0.0.0.0/0'], '10.1.2.3', false],
  [['0.0.0.0/0'], '100.64.0.1', false],
  [['8.0.0.0/6'], '10.1.2.3', false],
  [['::/0'], '2606:4700::1111', true],
  [['::/0'], 'fd12::1', false],
  [['fd12::/16'], 'fd12::1', true],
  [['::/0'], '8.8.8.8', false],
  [['::ffff:0:0/96'], '8.8.8.8', false],
  [['::ffff:10.0.0.0/104'], '10.0.0.1', false],
])('nodes at %j: may %s be dialed? %s', async (allowedCidrs, address, isAllowed) => {
  const checked = guardWith({}, allowedCidrs).check(address, 22)
  if (isAllowed) expect(await checked).toEqual([address])
  else await expect(checked).rejects.toMatchObject(bad)
})

test('a webhook may go to the public internet, and not within', async () => {
  const guard = createDialGuard({ profile: 'tenant-webhook', allowedCidrs: [], production: true })
  expect(await guard.check('8.8.8.8', 443)).toEqual(['8.8.8.8'])
  for (const host of ['10.0.0.1', '127.0.0.1', '169.254.169.254', 'fd00::1']) {
    await expect(guard.check(host, 443)).rejects.toMatchObject(bad)
  }
})

test('a name is asked for once, so that its second answer cannot be another', async () => {
  const answers = [['10.1.0.1'], ['127.0.0.1']]
  const dialed: string[] = []
  const guard = createDialGuard({
    allowedCidrs: ['10.1.0.0/16'],
    production: false,
    resolve: async () => answers.shift() ?? [],
    dial: async (address) => {
      dialed.push(address)
      throw new Error('nobody is there')
    },
  })
  await expect(guard.connect('rebinding.example', 22, { timeoutMs: 1 })).rejects.toBeDefined()
  expect(dialed).toEqual(['10.1.0.1'])
  expect(answers).toHaveLength(1)
})

test('a refusal does not tell a name that is unknown from an address that is forbidden', async () => {
  const guard = guardWith({ 'inside.example': ['10.0.0.1'], 'empty.example': [] }, ['8.8.8.0/24'])
  const messages = new Set<string>()
  for (const host of [
    'unknown.example',
    'inside.example',
    'empty.example',
    '127.0.0.1',
    '0177.1',
    '9.9.9.9',
  ]) {
    messages.add(await guard.check(host, 22).then(String, (error: Error) => error.message))
  }
  expect([...messages]).toHaveLength(1)
})

describe('the exact exception', () => {
  test('opens one address and port, and not its other names or ports', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const guard = createDialGuard({
      allowedCidrs: EVERYTHING,
      exceptions: [`127.0.0.1:${port}`],
      production: false,
      resolve: async () => ['127.0.0.1'],
    })
    for (const host of [
      'localhost',
      '127.1',
      '127.0.0.01',
      '::ffff:127.0.0.1',
      '::1',
      'node.example',
    ]) {
      await expect(guard.connect(host, port, { timeoutMs })).rejects.toMatchObject(bad)
    }
    await expect(guard.connect('127.0.0.1', port - 1, { timeoutMs })).rejects.toMatchObject(bad)
    expect(sockets).toBe(0)
    const socket = await guard.connect('127.0.0.1', port, { timeoutMs })
    expect(socket.remotePort).toBe(port)
    socket.destroy()
    server.close()
    await once(server, 'close')
    await expect(guard.connect('127.0.0.1', port, { timeoutMs })).rejects.toMatchObject({
      code: 'UPSTREAM_UNAVAILABLE',
    })
  })

  test('is refused in production, and must be exact', () => {
    const options = { allowedCidrs: [], exceptions: ['127.0.0.1:4031'] }
    expect(() => createDialGuard({ ...options, production: true })).toThrow(RangeError)
    for (const exception of ['localhost:4031', '127.1:4031', '*:4031', ':4031']) {
      expect(() =>
        createDialGuard({ ...options, exceptions: [exception], production: false }),
      ).toThrow(RangeError)
    }
  })
})

test.each(['10.0.0.0', '10.0.0.0/33', '10.1/16', '::/129', 'x/8', '10.0.0.0/8 '])(
  '%j is not a CIDR',
  (cidr) => {
    expect(() => guardWith({}, [cidr])).toThrow(RangeError)
  },
)
