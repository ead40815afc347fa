import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/**
 * Ends a process, all that descend from it, and all that run at home in a directory, which may have
 * another parent by now. Returns when they are gone.
 */
export async function endTree(pid: number, directory: string): Promise<void> {
  // Listed before any dies, since children of the dead are given to another parent.
  const all = [pid, ...descendantsOf(pid), ...inhabitantsOf(directory)]
  for (const it of all) signal(it, 'SIGKILL')
  for (let tries = 0; all.some(isAlive); tries++) {
    if (tries === 250) throw new Error(`processes ${all.filter(isAlive)} do not end`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

/** Whether the process exists and runs this command. */
export function runs(pid: number, commandPart: string): boolean {
  return isAlive(pid) && commandOf(pid).includes(commandPart)
}

export function descendantsOf(pid: number): number[] {
  const parents = process.platform === 'linux' ? parentsFromProc() : parentsFromPs()
  const found = [pid]
  for (const ancestor of found) {
    for (const [child, parent] of parents) if (parent === ancestor) found.push(child)
  }
  return found.slice(1)
}

/** By their HOME or their working directory. */
function inhabitantsOf(directory: string): number[] {
  if (process.platform !== 'linux') return []
  return pidsFromProc().filter((pid) => {
    if (readProc(pid, 'environ').includes(`HOME=${directory}/`)) return true
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${directory}/`)
    } catch {
      return false
    }
  })
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

function isAlive(pid: number): boolean {
  if (!signal(pid, 0)) return false
  // A zombie waits for its parent, and holds nothing.
  return process.platform !== 'linux' || !/\) Z /.test(readProc(pid, 'stat'))
}

function commandOf(pid: number): string {
  if (process.platform === 'linux') return readProc(pid, 'cmdline').replaceAll('\0', ' ')
  try {
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)]).toString()
  } catch {
    return ''
  }
}

function pidsFromProc(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

function parentsFromProc(): [number, number][] {
  return pidsFromProc().map((pid) => {
    // `pid (name) state parent …`; a name may hold blanks and parentheses.
    const [, parent] = readProc(pid, 'stat')
      .replace(/^.*\) /s, '')
      .split(' ')
    return [pid, Number(parent)]
  })
}

function parentsFromPs(): [number, number][] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n')
  return lines.map((line) => {
    const [pid, parent] = line.trim().split(/\s+/).map(Number)
    return [pid ?? 0, parent ?? 0]
  })
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}
