import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { readJson, writeJson } from './json-file.ts'
import { SetupError } from './setup-error.ts'
import { testDirectory } from './test-directory.ts'

test('what is written is read; the same is not written again, and nothing is left beside it', () => {
  using directory = testDirectory()
  const file = path.join(directory.path, 'it.json')
  expect(readJson(file, '')).toBeUndefined()
  writeJson(file, { a: 1 }, 0o600)
  const { ino, mode } = statSync(file)
  expect(mode & 0o777).toBe(0o600)
  writeJson(file, { a: 1 }, 0o600)
  expect(statSync(file).ino).toBe(ino)
  writeJson(file, { a: 2 }, 0o600)
  expect(readJson(file, '')).toEqual({ a: 2 })
  expect(readdirSync(directory.path)).toEqual(['it.json'])
})

test.each(['', '{"a":', 'null', '1'])('a file of %j is one line that says what to do', (text) => {
  using directory = testDirectory()
  const file = path.join(directory.path, 'it.json')
  writeFileSync(file, text)
  expect(() => readJson(file, 'Remove it')).toThrow(SetupError)
  expect(() => readJson(file, 'Remove it')).toThrow(/^\S+it\.json cannot be read: .+\. Remove it$/)
  expect(readFileSync(file, 'utf8')).toBe(text)
})
