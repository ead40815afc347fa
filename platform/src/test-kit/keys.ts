import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { newServiceKey } from '../trusted-keys.ts'

export type TestKeys = Disposable & {
  /** Value of BERTH_KEYS_DIR, for any of the services. */
  readonly dir: string
  remove(): void
}

/** A directory with fresh keys of all these services, as an installation has it. */
export function testKeys(services: readonly string[]): TestKeys {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'berth-keys-'))
  const write = (name: string, content: unknown) =>
    writeFileSync(path.join(dir, name), JSON.stringify(content), { mode: 0o600 })

  const keys = services.map((service) => {
    const { privateJwk, publicJwk } = newServiceKey(service)
    write(`${service}.jwk.json`, privateJwk)
    return publicJwk
  })
  write('services.jwks.json', { keys })
  write('kek.json', { current: 'test-1', keys: { 'test-1': randomKey() } })
  write('cursor.json', { key: randomKey() })

  const remove = () => {
    process.off('exit', remove)
    rmSync(dir, { recursive: true, force: true })
  }
  process.once('exit', remove)
  return { dir, remove, [Symbol.dispose]: remove }
}

function randomKey(): string {
  return randomBytes(32).toString('base64')
}
