import type { z } from 'zod'
import { within } from './abort.ts'
import { loadConfig, type ServiceConfig, type serviceConfig } from './config.ts'
import { createLog, type Log } from './log.ts'
import { createMetrics, type Metrics } from './metrics.ts'

export type Service<S extends z.ZodRawShape> = {
  readonly config: Readonly<z.output<z.ZodObject<S>>>
  readonly log: Log
  readonly metrics: Metrics
}

/** Beyond the drain itself, for what closes after the requests have ended. */
const CLOSE_SECONDS = 5

/**
 * Runs a service: loads its configuration, starts it, and on SIGTERM or SIGINT disposes its scope
 * in reverse order, bounded by `BERTH_DRAIN_SECONDS`. A second signal, a failed start or an
 * uncaught error ends the process at once. The whole of a `main.ts`:
 *
 *     await runService('inventory', inventoryConfig, openInventory)
 */
export async function runService<S extends z.ZodRawShape & typeof serviceConfig>(
  name: string,
  shape: S,
  start: (scope: AsyncDisposableStack, service: Service<S>) => Promise<unknown>,
): Promise<void> {
  await runProcess(createLog({ service: name, instance: name }), async (scope) => {
    const config = loadConfig(shape)
    // The shape holds the common variables, which the compiler cannot see through the generic.
    const common = config as unknown as ServiceConfig
    if (common.BERTH_SERVICE !== name) throw new TypeError(`BERTH_SERVICE is not ${name}`)
    const instance = common.BERTH_INSTANCE
    const log = createLog({ service: name, instance, level: common.LOG_LEVEL })
    const metrics = createMetrics({ service: name, processMetrics: true })
    return {
      log,
      drainSeconds: common.BERTH_DRAIN_SECONDS,
      started: start(scope, { config, log, metrics }),
    }
  })
}

/** What `runProcess` needs of what it runs. */
export type Started = {
  readonly log: Log
  readonly drainSeconds: number
  readonly started: Promise<unknown>
}

/**
 * The same for a program that is configured otherwise.
 *
 * @param boot logs until there is another log
 */
export async function runProcess(
  boot: Log,
  start: (scope: AsyncDisposableStack) => Promise<Started>,
): Promise<void> {
  const scope = new AsyncDisposableStack()
  process.on('uncaughtException', (err) => exit(boot, 1, { err }, 'uncaught error'))
  process.on('unhandledRejection', (err) => exit(boot, 1, { err }, 'unhandled rejection'))

  const stopped = Promise.withResolvers<NodeJS.Signals>()
  let signals = 0
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (++signals > 1) exit(boot, 1, { signal }, 'second signal: not draining')
      stopped.resolve(signal)
    })
  }

  let log = boot
  let drainSeconds = 0
  try {
    const run = await start(scope)
    log = run.log
    drainSeconds = run.drainSeconds
    await run.started
  } catch (err) {
    const shown =
      err instanceof Error && err.name === 'ConfigError' ? { reason: err.message } : { err }
    log.fatal(shown, 'failed to start')
    await disposed(scope, CLOSE_SECONDS).catch(() => undefined)
    exit(log, 1, {}, 'not started')
  }

  log.info({ signal: await stopped.promise, drainSeconds }, 'draining')
  try {
    await disposed(scope, drainSeconds + CLOSE_SECONDS)
  } catch (err) {
    exit(log, 1, { err }, 'not drained cleanly')
  }
  exit(log, 0, {}, 'stopped')
}

/** The one place where a service's process ends. */
function exit(log: Log, code: number, fields: object, message: string): never {
  if (code === 0) log.info(fields, message)
  else log.fatal(fields, message)
  process.exit(code)
}

function disposed(scope: AsyncDisposableStack, seconds: number): Promise<void> {
  return within(seconds * 1_000, scope.disposeAsync(), `not done within ${seconds} s`)
}
