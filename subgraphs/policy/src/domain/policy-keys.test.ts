import { readFileSync } from 'node:fs'
import { actionNames } from '@berth/schema/actions'
import { expect, test } from 'vitest'
import { type PolicyLevel, parsePolicy, policyKeys, policyLevels, schemaOf } from './policy-keys.ts'

test('every policy starts with a value that may be set, and says what it is for', () => {
  for (const [key, { description, initial, levels }] of policyKeys) {
    for (const level of levels) expect(parsePolicy(key, level, initial), key).toEqual(initial)
    expect(description, key).toMatch(/^[A-Z].+\.$/)
    expect(key).toMatch(/^[a-z]+(\.[a-z][a-z-]*)+$/)
  }
})

test('a policy is refused at the levels that it has not', () => {
  for (const [key, { initial, levels }] of policyKeys) {
    for (const level of policyLevels.filter((it) => !levels.includes(it))) {
      expect(() => parsePolicy(key, level, initial)).toThrow(
        expect.objectContaining({ code: 'BAD_INPUT', message: expect.stringContaining(level) }),
      )
    }
  }
})

const RATE = { perMinute: 1, burst: 1 }
const deep = JSON.parse(`${'['.repeat(5_000)}${']'.repeat(5_000)}`)

test.each<[string, string, PolicyLevel, unknown, RegExp]>([
  ['an unknown key', 'ratelimit.nothing', 'PLATFORM', RATE, /`key`: there is no policy/],
  ['a key of Object’s', 'constructor', 'PLATFORM', {}, /`key`/],
  ['the prototype as a key', '__proto__', 'PLATFORM', {}, /`key`/],
  ['a rate without a burst', 'ratelimit.query', 'USER', { perMinute: 1 }, /`value\.burst`/],
  [
    'a rate of nothing',
    'ratelimit.query',
    'GRANT',
    { ...RATE, perMinute: 0 },
    /`value\.perMinute`/,
  ],
  ['a negative one', 'ratelimit.query', 'USER', { ...RATE, burst: -5 }, /`value\.burst`/],
  ['a fraction', 'ratelimit.query', 'USER', { ...RATE, burst: 1.5 }, /`value\.burst`/],
  ['NaN', 'ratelimit.query', 'USER', { ...RATE, burst: Number.NaN }, /`value\.burst`/],
  ['infinity', 'ratelimit.query', 'USER', { ...RATE, burst: Infinity }, /`value\.burst`/],
  ['a huge number', 'ratelimit.query', 'GRANT', { ...RATE, burst: 1e300 }, /`value\.burst`/],
  ['a number as text', 'ratelimit.query', 'USER', { ...RATE, burst: '1' }, /`value\.burst`/],
  ['an unknown field', 'ratelimit.query', 'PLATFORM', { ...RATE, extra: 1 }, /`value`.*extra/],
  ['a list', 'ratelimit.query', 'PLATFORM', [1, 1], /`value`/],
  ['null', 'quota.gpus', 'PLATFORM', null, /`value`/],
  ['a negative quota', 'quota.gpus', 'ORGANIZATION', -1, /`value`/],
  ['a quota beyond all numbers', 'quota.gpus', 'GRANT', 2 ** 60, /`value`/],
  ['NaN as a quota', 'quota.gpus', 'ORGANIZATION', Number.NaN, /`value`/],
  [
    'a prototype beside the fields',
    'ratelimit.query',
    'USER',
    JSON.parse('{"perMinute": 1, "burst": 1, "__proto__": {"burst": 9}}'),
    /`__proto__`/,
  ],
  [
    'a prototype among the roles',
    'authz.roles',
    'PLATFORM',
    JSON.parse('{"__proto__": ["node:manage"]}'),
    /`__proto__`/,
  ],
  ['an action without a thing', 'authz.roles', 'PLATFORM', { owner: ['*'] }, /`value\.owner\.0`/],
  [
    'an action that is none',
    'authz.roles',
    'PLATFORM',
    { owner: ['node:fly'] },
    /`value\.owner\.0`/,
  ],
  ['roles of one organization', 'authz.roles', 'ORGANIZATION', { owner: [] }, /`level`/],
  ['what nests without end', 'authz.roles', 'PLATFORM', deep, /too deeply/],
  ['NUL', 'authz.rules', 'PLATFORM', 'a\0b', /no text/],
  ['half a character', 'authz.rules', 'PLATFORM', '\ud800', /no text/],
  ['NUL in a name', 'authz.roles', 'PLATFORM', { 'a\0': [] }, /no text/],
  ['what is too long', 'authz.rules', 'ORGANIZATION', 'x'.repeat(70_000), /longer than/],
])('%s is refused, naming what is wrong', (_what, key, level, value, message) => {
  expect(() => parsePolicy(key, level, value)).toThrow(
    expect.objectContaining({ code: 'BAD_INPUT', message: expect.stringMatching(message) }),
  )
})

test('each is described as JSON Schema', () => {
  for (const definition of policyKeys.values()) {
    expect(schemaOf(definition)).toMatchObject({ $schema: expect.stringContaining('2020-12') })
  }
  const query = policyKeys.get('ratelimit.query')
  expect(query && schemaOf(query)).toMatchObject({
    type: 'object',
    required: ['perMinute', 'burst'],
    additionalProperties: false,
    properties: { perMinute: { type: 'integer', minimum: 1, maximum: 1_000_000 } },
  })
})

test('no role of an organization reaches nodes or the platform, and an operator is nobody’s tenant', () => {
  const roles = policyKeys.get('authz.roles')?.initial as Record<string, string[]>
  for (const [role, actions] of Object.entries(roles)) {
    const isOperator = role === 'platform:operator'
    expect(actions.some((it) => /^(node|platform):/.test(it))).toBe(isOperator)
    expect(actions.some((it) => /^(allocation|policy):/.test(it)) && isOperator).toBe(false)
  }
  const managers = Object.keys(roles).filter((it) => roles[it]?.includes('policy:*'))
  expect(managers).toEqual(['owner', 'admin'])
  expect(actionNames).toEqual(expect.arrayContaining(['policy:manage', 'platform:policies']))
})

test('doc/policies.md names every policy, with its levels and its first value', () => {
  const page = readFileSync(new URL('../../../../doc/policies.md', import.meta.url), 'utf8')
  const rows = page.match(/^\| `[a-z]+\.[a-z.-]+` \|.*$/gm) ?? []
  const cells = rows.map((row) =>
    row
      .split('|')
      .slice(1, 5)
      .map((it) => it.trim()),
  )
  const expected = [...policyKeys].map(([key, { levels, combination, initial }]) => {
    const first = key.startsWith('authz.') ? '' : `\`${JSON.stringify(initial)}\``
    return [`\`${key}\``, levels.join(', '), combination, first]
  })
  expect(cells).toEqual(expected)
})
