import { expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError, loadConfig, serviceConfig, subgraphConfig } from './config.ts'

const env = {
  BERTH_SERVICE: 'inventory',
  BERTH_INSTANCE: 'inventory-1',
  BERTH_ENV: 'test',
  PORT: '4024',
  DATABASE_URL: 'postgresql://inventory_app:hunter2@127.0.0.1:4040/berth',
  REDIS_URL: 'redis://127.0.0.1:4041',
  NATS_URL: 'nats://127.0.0.1:4042',
  BERTH_KEYS_DIR: '/keys',
  BERTH_PEERS: '{"policy":["http://127.0.0.1:4023"]}',
}

test('a good environment is one frozen, typed object with defaults', () => {
  const config = loadConfig({ ...subgraphConfig, TERMINAL_URL: z.url().optional() }, env)
  expect(config).toMatchObject({
    PORT: 4024,
    HOST: '127.0.0.1',
    LOG_LEVEL: 'info',
    BERTH_DRAIN_SECONDS: 10,
    BERTH_PEERS: { policy: ['http://127.0.0.1:4023'] },
    NODE_PROBE_ALLOWED_CIDRS: [],
  })
  expect(() => Object.assign(config, { PORT: 1 })).toThrow(TypeError)
})

test('every bad variable is reported at once, by name and never by value', () => {
  const bad = {
    ...env,
    PORT: '70000',
    DATABASE_URL: 'mysql://root:hunter2@db/berth',
    REDIS_URL: '',
    BERTH_PEERS: 'hunter2',
    BERTH_ENV: 'prod',
    LOG_LEVEL: 'loud',
  }
  const load = () => loadConfig(subgraphConfig, bad)
  expect(load).toThrow(ConfigError)
  for (const name of [
    'PORT',
    'DATABASE_URL',
    'REDIS_URL is not set',
    'BERTH_PEERS',
    'BERTH_ENV',
    'LOG_LEVEL',
  ]) {
    expect(load).toThrow(new RegExp(name))
  }
  expect(load).not.toThrow(/hunter2/)
})

test('the development node is refused in production', () => {
  const node = { ...env, BERTH_DEVELOPMENT_NODE: '127.0.0.1:4031' }
  expect(loadConfig(serviceConfig, node).BERTH_DEVELOPMENT_NODE).toBe('127.0.0.1:4031')
  expect(() => loadConfig(serviceConfig, { ...node, BERTH_ENV: 'production' })).toThrow(
    /BERTH_DEVELOPMENT_NODE: must not be set in production/,
  )
})

test('peers must be http addresses', () => {
  const peers = (BERTH_PEERS: string) => loadConfig(serviceConfig, { ...env, BERTH_PEERS })
  expect(() => peers('{"policy":[]}')).toThrow(/BERTH_PEERS/)
  expect(() => peers('{"policy":["ftp://x"]}')).toThrow(/BERTH_PEERS/)
})
