import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { testDirectory } from '../servers/test-directory.ts'
import { readManifests } from './manifests.ts'

function repository(root: string, workspaces: Record<string, object[]>): void {
  const write = (directory: string, value: object) => {
    mkdirSync(directory, { recursive: true })
    writeFileSync(path.join(directory, 'package.json'), JSON.stringify(value))
  }
  write(root, { workspaces: ['edge', 'domains/*', 'absent'] })
  for (const [name, services] of Object.entries(workspaces))
    write(path.join(root, name), services.length ? { berth: { services } } : {})
}

const service = (name: string, port: number, more = {}) => ({
  name,
  port,
  main: 'main.ts',
  ready: 'http',
  ...more,
})

test('services are found in every workspace, folders of workspaces included', () => {
  using directory = testDirectory()
  repository(directory.path, {
    edge: [service('edge', 0)],
    'domains/red': [service('red', 21, { domain: 'red', after: ['edge'] })],
    'domains/none': [],
  })
  const services = readManifests(directory.path)
  expect(services.map(({ name }) => name)).toEqual(['edge', 'red'])
  expect(services[1]).toMatchObject({
    directory: path.join(directory.path, 'domains/red'),
    after: ['edge'],
    development: false,
  })
})

test.each([
  ['a field is unknown', [service('a', 1, { prot: 2 })], /edge\/package\.json.*prot/s],
  ['a port is outside the services’ range', [service('a', 40)], /port/],
  ['two share a port', [service('a', 1), service('b', 1)], /both declare port 1/],
  ['two share a name', [service('a', 1), service('a', 1)], /Two services are called a/],
  ['it waits for nobody', [service('a', 1, { after: ['b'] })], /waits for b, which is not/],
  [
    'they wait for each other',
    [service('a', 1, { after: ['b'] }), service('b', 2, { after: ['a'] })],
    /wait for each other: a, b/,
  ],
])('manifests are refused when %s', (_, services, message) => {
  using directory = testDirectory()
  repository(directory.path, { edge: services })
  expect(() => readManifests(directory.path)).toThrow(message)
})
