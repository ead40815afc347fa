import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { berthHome } from '../servers/home.ts'
import { freeBasePort } from '../servers/ports.ts'
import { testDirectory } from '../servers/test-directory.ts'

const START = path.join(import.meta.dirname, 'start.ts')

/** `npm start` on a state of its own, given up while its servers start. */
async function startAndGiveUp(home: string, giveUp: string) {
  const port = await freeBasePort(Array.from({ length: 100 }, (_, n) => n))
  symlinkSync(berthHome().servers, path.join(home, 'servers'))
  const preload = `data:text/javascript,${encodeURIComponent(giveUp)}`
  const child = spawn(process.execPath, ['--import', preload, START], {
    env: { ...process.env, BERTH_HOME: home, BERTH_PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [[status], stdout, stderr] = await Promise.all([
    once(child, 'exit'),
    text(child.stdout),
    text(child.stderr),
  ])
  const state = path.join(home, String(port))
  const left = existsSync(path.join(state, 'run')) ? readdirSync(path.join(state, 'run')) : []
  return { status, stdout, stderr, left, files: readdirSync(state) }
}

test.each([
  ['an uncaught error', "setTimeout(() => { throw new Error('oops') }, 700)", 1],
  ['a signal', "setTimeout(() => process.kill(process.pid, 'SIGINT'), 700)", 0],
])(
  '%s while it starts: all is stopped, and the status tells',
  async (_what, giveUp, expected) => {
    using home = testDirectory()
    const { status, stdout, stderr, left, files } = await startAndGiveUp(home.path, giveUp)
    expect({ status, left }).toEqual({ status: expected, left: [] })
    expect(stdout).toMatch(/\nStopping\n(.*\n)*Stopped\n$/)
    expect(stderr.includes('Error: oops')).toBe(expected === 1)
    expect(files).not.toContain('supervisor.json')
  },
  60_000,
)
