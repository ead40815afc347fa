import { chmodSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'

/** A lock between processes that the kernel drops when its holder dies, however it dies. */
export type Lock = { release(): void } & Disposable

const SQLITE_BUSY = 5

/** Keeps what is held from the garbage collector, which would close it and so let go of it. */
const HELD = new Set<DatabaseSync>()

/**
 * Takes the lock on a file, which is made if needed, or answers `undefined` when another holds it.
 *
 * SQLite's exclusive transaction is the one lock in Node that is held by the kernel on every
 * platform: a pid file would need guessing after a kill -9.
 */
export function tryLock(file: string): Lock | undefined {
  mkdirSync(path.dirname(file), { recursive: true })
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined
    throw error
  }
  chmodSync(file, 0o600)
  HELD.add(database)
  const release = () => {
    if (HELD.delete(database)) database.close()
  }
  return { release, [Symbol.dispose]: release }
}

/**
 * Waits for the lock.
 *
 * @param onWait called once when another holds it
 */
export async function lock(file: string, onWait: () => void = () => {}): Promise<Lock> {
  for (let tries = 0; ; tries++) {
    const taken = tryLock(file)
    if (taken) return taken
    if (tries === 0) onWait()
    await setTimeout(50)
  }
}
