import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'berth-released-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function run(...args: string[]) {
  const file = path.join(import.meta.dirname, 'release.ts')
  return spawnSync(process.execPath, [file, ...args, folder], { encoding: 'utf8' })
}

function release(name: string, change: (sdl: string) => string): void {
  const file = path.join(folder, name)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
}

test('what breaks a release fails the check by its name, and is not released', {
  timeout: 60_000,
}, () => {
  expect(run('--check').status).toBe(1)
  expect(run().status).toBe(0)
  expect(readdirSync(folder)).toEqual(['api.graphql', 'partner.graphql'])
  expect(run('--check')).toMatchObject({ status: 0, stdout: '', stderr: '' })

  release('partner.graphql', (it) => it.replace('type Offer {', 'type Offer {\n  gone: Int'))
  const check = run('--check')
  expect(check.status).toBe(1)
  expect(check.stdout).toBe(
    'partner.graphql: breaking: Offer.gone: Offer.gone was removed. Deprecate it first.\n',
  )
  expect(run().status).toBe(1)
  expect(readFileSync(path.join(folder, 'partner.graphql'), 'utf8')).toContain('gone: Int')
})

test('what is only dangerous is told, and passes', { timeout: 60_000 }, () => {
  expect(run().status).toBe(0)
  release('api.graphql', (it) => it.replace(/\n {2}"""[^"]*"""\n {2}IMAGE_ERROR/, ''))
  const check = run('--check')
  expect(check.stdout).toMatch(/^api\.graphql: dangerous: AllocationReason\.IMAGE_ERROR: .*\n$/)
  expect(check.status).toBe(0)
})
