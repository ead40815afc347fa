import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A directory for one test, which the servers' account may enter. */
export function testDirectory(): { readonly path: string } & Disposable {
  const directory = mkdtempSync(path.join(tmpdir(), 'berth-test-'))
  chmodSync(directory, 0o755)
  return {
    path: directory,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }),
  }
}
