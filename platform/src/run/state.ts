import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { sharedDirectory } from '../servers/account.ts'
import { berthHome } from '../servers/home.ts'
import { type Lock, tryLock } from '../servers/lock.ts'
import { startTimeOf, stopOrphans } from '../servers/process.ts'
import { SetupError } from '../servers/setup-error.ts'

const DEFAULT_PORT = 4000

/** Where the parts of a state directory are. */
export function statePlaces(stateDir: string) {
  return {
    lock: path.join(stateDir, 'supervisor.lock'),
    supervisor: path.join(stateDir, 'supervisor.json'),
    run: path.join(stateDir, 'run'),
    log: path.join(stateDir, 'log'),
    keys: path.join(stateDir, 'keys'),
  }
}

/**
 * The base port and state directory of `npm start`, from BERTH_PORT and BERTH_HOME.
 *
 * @throws {SetupError} when BERTH_PORT is no port
 */
export function stateOf(env: NodeJS.ProcessEnv): { basePort: number; stateDir: string } {
  const basePort = Number(env.BERTH_PORT || DEFAULT_PORT)
  if (!Number.isInteger(basePort) || basePort < 1 || basePort > 65_436)
    throw new SetupError(
      'BERTH_PORT must be a whole number from 1 to 65436: the first of 100 ports',
    )
  return { basePort, stateDir: path.join(berthHome(env).state, String(basePort)) }
}

/**
 * Takes a state directory for this process.
 *
 * @throws {SetupError} when another platform runs on it, or it cannot be made
 */
export function takeState(stateDir: string): Lock {
  const places = statePlaces(stateDir)
  try {
    sharedDirectory(path.dirname(stateDir))
    sharedDirectory(stateDir)
    const held = tryLock(places.lock)
    if (held) return held
  } catch (error) {
    throw new SetupError(
      `${stateDir} cannot be used: ${(error as Error).message}. Set BERTH_HOME to a directory of yours`,
    )
  }
  const { pid } = readSupervisor(stateDir) ?? {}
  throw new SetupError(
    `A platform already runs on ${stateDir}${pid ? ` (process ${pid})` : ''}: stop it with npm stop, or start another with its own BERTH_PORT`,
  )
}

export function writeSupervisor(stateDir: string): void {
  const file = statePlaces(stateDir).supervisor
  const record = { pid: process.pid, started: startTimeOf(process.pid) }
  writeFileSync(`${file}.new`, JSON.stringify(record))
  renameSync(`${file}.new`, file)
}

/**
 * Stops the platform of a state directory, or what is left of one whose supervisor was killed.
 *
 * @returns what was stopped: `platform`, names of leftovers, or nothing
 */
export async function stopState(stateDir: string): Promise<string[]> {
  const places = statePlaces(stateDir)
  const supervisor = readSupervisor(stateDir)
  if (supervisor && startTimeOf(supervisor.pid) === supervisor.started) {
    process.kill(supervisor.pid, 'SIGTERM')
    while (startTimeOf(supervisor.pid) === supervisor.started) await setTimeout(50)
    return ['platform']
  }
  const orphans = await stopOrphans(places.run)
  rmSync(places.supervisor, { force: true })
  return orphans
}

function readSupervisor(stateDir: string): { pid: number; started: string } | undefined {
  try {
    return JSON.parse(readFileSync(statePlaces(stateDir).supervisor, 'utf8'))
  } catch {
    return undefined
  }
}
