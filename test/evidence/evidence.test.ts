import { expect, test } from 'vitest'
import { passedTests, readWatchlist, render, runCheck } from './evidence.ts'

const yaml = (status: string, checks = '[]') => `
sections:
  - title: Current watchlist
    prefix: W
    items:
      - id: W1
        title: Durable inbox
        promise: Nothing is lost.
        status: ${status}
        owner: notifications
        today: It is built.
        acceptance_checks: ${checks}
`

test('an item cannot be done without a check', () => {
  expect(() => readWatchlist(yaml('done'))).toThrow('done without an acceptance check: W1')
  expect(readWatchlist(yaml('open')).sections[0]?.items).toHaveLength(1)
})

test('an unknown status or field is refused', () => {
  expect(() => readWatchlist(yaml('finished'))).toThrow()
  expect(() => readWatchlist(`${yaml('open')}        more: 1\n`)).toThrow()
})

test('a check that fails does not hold', async () => {
  expect(await runCheck('echo "Tests  1 passed (1)"; exit 3')).toContain('exited with 3')
})

test('a check that executes no test does not hold', async () => {
  expect(await runCheck('echo fine')).toBe('executed no test')
  expect(await runCheck('echo "      Tests  2 passed | 1 skipped (3)"')).toBeNull()
})

test('the closing line of the test runner is read, also when it is coloured', () => {
  expect(
    passedTests('\u001b[2m      Tests \u001b[22m \u001b[1m\u001b[32m12 passed\u001b[39m'),
  ).toBe(12)
  expect(passedTests('      Tests  3 failed | 4 passed (7)')).toBe(4)
  expect(passedTests('no tests')).toBe(0)
})

test('the page shows each item with its status and command', () => {
  const text = render(readWatchlist(yaml('done', '["npx vitest run"]')))
  expect(text).toContain('### W1 Durable inbox')
  expect(text).toContain('**done** · notifications')
  expect(text).toContain('npx vitest run')
})
