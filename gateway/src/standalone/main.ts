import path from 'node:path'
import { ConfigError } from '@berth/platform/config'
import { runProcess } from '@berth/platform/lifecycle'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { boundHeapGrowth } from '../heap.ts'
import { openStandalone } from './app.ts'
import { HELP, type Options, parseOptions, UsageError } from './options.ts'

const NAME = 'gateway'
const FAILED = 1
const WRONG_USAGE = 2

const options = optionsOr()
if (options) {
  boundHeapGrowth()
  const log = createLog({ service: NAME, instance: NAME, level: options.logLevel })
  const metrics = createMetrics({ service: NAME, processMetrics: true })
  await runProcess(log, async (scope) => ({
    log,
    drainSeconds: options.drainSeconds,
    started: openStandalone(scope, { options, log, metrics }).catch((error: unknown) => {
      if (isOfAddress(error)) notListening(options, error)
      return refuse(error)
    }),
  }))
}

/** Null when what was asked for is done, or cannot be. */
function optionsOr(): Options | null {
  // npm runs its scripts elsewhere than where it was called.
  process.chdir(process.env.INIT_CWD ?? '.')
  try {
    const parsed = parseOptions(process.argv.slice(2), process.env)
    if (!parsed) process.stdout.write(HELP)
    return parsed && { ...parsed, supergraph: path.resolve(parsed.supergraph) }
  } catch (error) {
    return refuse(error)
  }
}

/** It is taken, not this machine's, or not for everyone. */
function isOfAddress(error: unknown): error is NodeJS.ErrnoException {
  const { syscall } = error instanceof Error ? (error as NodeJS.ErrnoException) : {}
  return syscall === 'listen' || syscall === 'getaddrinfo'
}

function notListening({ host, port }: Options, { code }: NodeJS.ErrnoException): never {
  const why = code === 'EADDRINUSE' ? 'the port is taken' : code
  process.stderr.write(`Cannot listen at ${host}, port ${port}: ${why}\n`)
  process.exit(FAILED)
}

/** For whoever typed the command: no log line, and no stack. */
function refuse(error: unknown): never {
  if (!(error instanceof UsageError || error instanceof ConfigError)) throw error
  process.stderr.write(`${error.message}\nnpm run gateway -- --help says more\n`)
  process.exit(WRONG_USAGE)
}
