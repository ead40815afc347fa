import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

/**
 * Runs a replica in a process of its own until it kills itself at a fault point.
 *
 * @param fault see `fault`
 * @returns the signal that ended it
 */
export async function replicaThatDies({
  databaseUrl,
  natsUrl,
  does,
  fault,
}: {
  databaseUrl: string
  natsUrl: string
  does: 'relay' | 'consume' | 'audit'
  fault: string
}): Promise<NodeJS.Signals | null> {
  const main = path.join(import.meta.dirname, 'replica-process.ts')
  const child = spawn(process.execPath, [main, databaseUrl, natsUrl, does], {
    env: { ...process.env, BERTH_ENV: 'test', BERTH_FAULTS: fault },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const onExit = () => child.kill('SIGKILL')
  process.once('exit', onExit)
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  process.off('exit', onExit)
  return signal
}
