import { expect, test } from 'vitest'
import { HELP, parseOptions, UsageError } from './options.ts'

const LEAST = ['--supergraph', 'x.graphql', '--no-authentication']

test('what is not said is safe: nothing is forwarded, shared, masked or reachable from elsewhere', () => {
  expect(parseOptions(LEAST, {})).toEqual({
    supergraph: 'x.graphql',
    host: '127.0.0.1',
    port: 4000,
    subgraphs: {},
    subscriptionUrls: {},
    forwardedHeaders: [],
    authentication: null,
    trustedDocuments: null,
    allowedOrigins: [],
    maxCost: Number.POSITIVE_INFINITY,
    trustedProxies: [],
    sharesByHeaders: false,
    durableStreams: false,
    maskErrors: false,
    drainSeconds: 10,
    logLevel: 'info',
    isProduction: false,
  })
})

test('what is said is taken', () => {
  const issuer = ['--jwks', 'https://a.test/keys', '--issuer', 'https://a.test', '--audience', 'b']
  const forward = ['--forward-header', 'X-User', '--forward-header', 'authorization']
  const urls = ['--subgraph', 'a=http://a.test/?b=c', '--subscription-url', 'a=wss://a.test/ws']
  const args = ['--supergraph', 'x', ...issuer, ...forward, ...urls, '--port', '0']
  expect(parseOptions(args, { NODE_ENV: 'production' })).toMatchObject({
    authentication: { keysUrl: 'https://a.test/keys', issuer: 'https://a.test', audience: 'b' },
    forwardedHeaders: ['x-user', 'authorization'],
    subgraphs: { a: 'http://a.test/?b=c' },
    subscriptionUrls: { a: 'wss://a.test/ws' },
    port: 0,
    isProduction: true,
  })
  expect(parseOptions(['--help'], {})).toBeNull()
})

test.each([
  [[], '--supergraph FILE is needed'],
  [['--supergraph', 'x'], 'Who may ask?'],
  [['--supergraph', 'x', '--jwks', 'http://a'], 'are needed together'],
  [[...LEAST, '--jwks', 'http://a'], 'does not go with'],
  [[...LEAST, '--port', 'http'], '--port http: must be a whole number'],
  [[...LEAST, '--port', '65536'], 'from 0 to 65535'],
  [[...LEAST, '--ports', '1'], "Unknown option '--ports'"],
  [[...LEAST, 'more'], 'Unexpected argument'],
  [[...LEAST, '--subgraph', 'a'], 'must be NAME=URL'],
  [[...LEAST, '--subgraph', 'a=ftp://a'], 'is not a URL that begins with http://, https://'],
  [[...LEAST, '--subgraph', 'a=http://a', '--subgraph', 'a=http://b'], 'given twice'],
  [[...LEAST, '--forward-header', 'Host'], 'of the connection'],
  [[...LEAST, '--forward-header', 'a b'], 'not a header'],
  [[...LEAST, '--allowed-origin', 'https://a.test/'], 'as a browser sends it'],
  [[...LEAST, '--log-level', 'loud'], 'must be one of'],
  [[...LEAST, '--drain-seconds', '1e9'], 'from 0 to 600'],
])('%j is refused: %s', (args, message) => {
  expect(() => parseOptions(args, {})).toThrow(UsageError)
  expect(() => parseOptions(args, {})).toThrow(message)
})

test('in production somebody must be asked who may ask', () => {
  for (const name of ['NODE_ENV', 'BERTH_ENV']) {
    expect(() => parseOptions(LEAST, { [name]: 'production' })).toThrow('refused in production')
  }
})

test('every flag is in the help', () => {
  const taken = ['--subgraph', '--trusted-documents', '--durable-streams', '--share-by-headers']
  for (const flag of taken) expect(HELP).toContain(flag)
})
