/** `npm test`: checks and tests of every workspace, with servers of their own. */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { SetupError } from '../servers/setup-error.ts'
import { acquireTestServers, releaseTestServers } from '../servers/test-servers.ts'

const ROOT = path.join(import.meta.dirname, '../../..')

try {
  console.log('Starting Postgres, Redis and NATS for the tests')
  await acquireTestServers()
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exit(1)
}
const turbo = spawn(
  path.join(ROOT, 'node_modules/.bin/turbo'),
  // Loose: the tests' servers depend on HOME, BERTH_HOME and the XDG directories.
  [
    'run',
    'check',
    'lint',
    'test',
    'evidence',
    '--continue=dependencies-successful',
    '--env-mode=loose',
    '--output-logs=new-only',
    ...process.argv.slice(2),
  ],
  {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
  },
)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => turbo.kill(signal))
const status = await new Promise<number>((resolve) => {
  turbo.once('error', (error) => {
    console.error(error.message)
    resolve(1)
  })
  turbo.once('exit', (code) => resolve(code ?? 1))
})
await releaseTestServers()
process.exit(status)
