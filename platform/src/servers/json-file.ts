import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { SetupError } from './setup-error.ts'

/**
 * The object in a file, or `undefined` when there is no such file.
 *
 * @param remedy what a person can do about a file that is not whole
 * @throws {SetupError} naming the file and the remedy
 */
export function readJson<T extends object>(file: string, remedy: string): T | undefined {
  if (!existsSync(file)) return undefined
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof value === 'object' && value !== null) return value as T
    throw new TypeError('it holds no object')
  } catch (cause) {
    throw new SetupError(`${file} cannot be read: ${(cause as Error).message}. ${remedy}`, {
      cause,
    })
  }
}

/** Whole or not at all, also after a power cut; a file that says the same is left alone. */
export function writeJson(file: string, value: object, mode: number): void {
  const text = `${JSON.stringify(value, null, 2)}\n`
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  writeFileSync(`${file}.new`, text, { mode, flush: true })
  renameSync(`${file}.new`, file)
}
