/** `npm start`, once the dependencies are there: runs the platform until it is told to stop. */
import { SetupError } from '../servers/setup-error.ts'
import { type Platform, startPlatform } from './platform.ts'
import { screen } from './screen.ts'
import { stateOf } from './state.ts'

/** A terminal's Ctrl-C arrives once from the terminal and again through npm. */
const SAME_SIGNAL_MS = 1500

const aborted = new AbortController()
let platform: Platform | undefined
let firstAsked = 0
let status = 0
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end())

process.on('uncaughtException', (error) => {
  console.error(error)
  status = 1
  if (!firstAsked) void end()
})

try {
  const { basePort, stateDir } = stateOf(process.env)
  platform = await startPlatform({
    stateDir,
    basePort,
    development: process.env.BERTH_ENV !== 'production',
    signal: aborted.signal,
    onProgress: (step) => console.log(`  ${step}`),
    onEvent: ({ name, what, why }) => console.error(`  ${name} ${what}: ${why}`),
  })
  console.log(screen(platform, stateDir))
} catch (error) {
  if (aborted.signal.aborted) {
    console.log('Stopped')
    process.exit(status)
  }
  console.error(error instanceof SetupError ? `\n${error.message}` : error)
  process.exit(1)
}

async function end(): Promise<void> {
  if (firstAsked) {
    // Asked again: the next start stops what is left.
    if (Date.now() - firstAsked > SAME_SIGNAL_MS) process.exit(1)
    return
  }
  firstAsked = Date.now()
  console.log('\nStopping')
  aborted.abort()
  if (!platform) return
  await platform.stop().catch((error: unknown) => {
    console.error(error)
    status = 1
  })
  console.log('Stopped')
  process.exit(status)
}
