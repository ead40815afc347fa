import { z } from 'zod'
import { loadConfig } from './config.ts'

type Action = () => void | Promise<void>

let armed: Map<string, Action> | undefined

/**
 * A named place where a test may make the process die, fail or wait: nothing at all unless
 * BERTH_ENV is `test` and the point is armed, by `armFault` or by BERTH_FAULTS, which names points
 * (with commas) at which the process kills itself.
 */
export async function fault(name: string): Promise<void> {
  armed ??= fromEnvironment()
  if (armed.size > 0) await armed.get(name)?.()
}

/**
 * @returns what disarms it
 * @throws {Error} outside of tests
 */
export function armFault(name: string, action: Action): () => void {
  if (environment().BERTH_ENV !== 'test') throw new Error('fault points exist in tests only')
  armed ??= fromEnvironment()
  const points = armed
  points.set(name, action)
  return () => {
    if (points.get(name) === action) points.delete(name)
  }
}

function fromEnvironment(): Map<string, Action> {
  const { BERTH_ENV, BERTH_FAULTS } = environment()
  const names = BERTH_ENV === 'test' ? BERTH_FAULTS.split(',').filter(Boolean) : []
  return new Map(names.map((name) => [name, kill]))
}

function kill(): void {
  process.kill(process.pid, 'SIGKILL')
}

function environment() {
  return loadConfig({ BERTH_ENV: z.string().default(''), BERTH_FAULTS: z.string().default('') })
}
