import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { readJson, writeJson } from '../servers/json-file.ts'
import { SetupError } from '../servers/setup-error.ts'

/** `kek.json` of a keys directory, which processes that run read anew. */
export type KekFile = {
  ids(): { current: string; all: string[] }
  /** Makes a key, which opens from now on and seals nothing yet. @returns its id */
  add(): string
  /** Everything is sealed with this key from now on. @throws {SetupError} for one that there is not */
  use(id: string): void
  /** Takes a key out. @returns what puts it back. @throws {SetupError} for the current one, or none */
  remove(id: string): () => void
}

type Content = { current: string; keys: Record<string, string> }

/** @throws {SetupError} when there is no such file */
export function openKekFile(keysDir: string): KekFile {
  const file = path.join(keysDir, 'kek.json')
  const read = (): Content => {
    const content = readJson<Content>(file, 'Restore it: without it no stored secret can be opened')
    if (content) return content
    throw new SetupError(`There is no ${file}: name the keys directory in BERTH_KEYS_DIR`)
  }
  const write = (content: Content) => writeJson(file, content, 0o600)
  const known = (id: string): Content => {
    const content = read()
    if (Object.hasOwn(content.keys, id)) return content
    throw new SetupError(`There is no key-encryption key ${id}: ${Object.keys(content.keys)} are`)
  }

  return {
    ids() {
      const { current, keys } = read()
      return { current, all: Object.keys(keys) }
    },
    add() {
      const { keys, ...rest } = read()
      const numbers = Object.keys(keys).map(Number).filter(Number.isInteger)
      // A number is not given twice while anything could be under it: the current one counts too.
      const id = String(Math.max(0, ...numbers) + 1)
      write({ ...rest, keys: { ...keys, [id]: randomBytes(32).toString('base64') } })
      return id
    },
    use(id) {
      write({ ...known(id), current: id })
    },
    remove(id) {
      const before = known(id)
      if (before.current === id) {
        throw new SetupError(`${id} is the key that seals: use another one first`)
      }
      const { [id]: removed, ...keys } = before.keys
      write({ ...before, keys })
      return () => {
        const now = read()
        write({ ...now, keys: { ...now.keys, [id]: removed ?? '' } })
      }
    },
  }
}
