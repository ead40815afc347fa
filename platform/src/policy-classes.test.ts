import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { policyClasses, staleSecondsOf, VALUE_STALE_SECONDS } from './policy-classes.ts'

test.each([
  ['billing:pay', 5],
  ['organization:keys', 5],
  ['organization:invite', 5],
  ['organization:read', 300],
  ['sshkey:manage', 5],
  ['terminal:open', 5],
  ['policy:manage', 5],
  ['platform:audit', 5],
  ['platforms:read', 300],
  ['allocation:create', 300],
])('%s is relied on for %i s', (action, seconds) => expect(staleSecondsOf(action)).toBe(seconds))

test('the documentation says the same', () => {
  const page = readFileSync(new URL('../../doc/policy-client.md', import.meta.url), 'utf8')
  for (const { name, actions, staleSeconds } of policyClasses) {
    const listed = actions.map((it) => `\`${it}\``).join(', ')
    expect(page).toContain(`| ${name} | ${listed} | ${staleSeconds} s |`)
  }
  expect(page).toContain(`| values: rates and quotas | | ${VALUE_STALE_SECONDS} s |`)
})
