import path from 'node:path'
import { expectAnswer } from '../servers/probe.ts'
import type { Program } from '../servers/process.ts'
import type { Instance } from './environment.ts'

const READY_SECONDS = 60
/** Over the service's own bound on its drain, after which it is killed. */
const DRAIN_GRACE_SECONDS = 3

/** How to run one instance of a service: with this Node, which strips the types itself. */
export function serviceProgram(instance: Instance, env: NodeJS.ProcessEnv): Program {
  const { service, port } = instance
  return {
    name: instance.name,
    file: process.execPath,
    args: ['--enable-source-maps', path.join(service.directory, service.main)],
    cwd: service.directory,
    env,
    stopSignal: 'SIGTERM',
    stopSeconds: Number(env.BERTH_DRAIN_SECONDS) + DRAIN_GRACE_SECONDS,
    readySeconds: READY_SECONDS,
    ready: () => (service.ready === 'tcp' ? accepts(port) : isReady(port)),
  }
}

async function isReady(port: number): Promise<void> {
  const signal = AbortSignal.timeout(3000)
  const response = await fetch(`http://127.0.0.1:${port}/readyz`, { signal })
  const body = await response.text()
  if (response.status !== 200) throw new Error(`/readyz answers ${response.status}: ${body}`)
}

function accepts(port: number): Promise<void> {
  return expectAnswer(port, '', /./s)
}
