import path from 'node:path'
import { createActor } from '@berth/platform/actor'
import { ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { createPolicyClient } from '@berth/platform/policy-client'
import { shieldSchema } from '@berth/platform/shield'
import { schemaOf } from '@berth/platform/subgraph'
import { testKeys } from '@berth/platform/test-kit/index'
import { loadKeys } from '@berth/platform/trusted-keys'
import { execute, parse } from 'graphql'
import { type Client, createClient, type NextRequest } from '../load.ts'
import { freePort, type Processes, type Running } from '../processes.ts'
import { median } from '../statistics.ts'
import {
  ENTITIES,
  feed,
  QUERY,
  resolvers,
  SDL,
  source,
  type Variant,
  variablesOf,
  variants,
} from './entities.ts'

/** What a request for fifty entities costs, with rules and without. */
export type Cost = { readonly perSecond: number; readonly perCpuSecond: number }

export type Shield = Readonly<Record<Variant, Cost>> & {
  /** How many times as much processor time a request takes with the rules. */
  readonly byCpu: number
  readonly byThroughput: number
  /** The same of the execution alone, without HTTP, assertion and parsing. */
  readonly ofExecution: number
}

type Effort = { readonly rounds: number; readonly seconds: number }

const NAMES = ['guarded', 'open'] as const
const SERVER_CORE = 0
const CONNECTIONS = 16
const EXECUTIONS = 200

const actor = createActor({
  kind: 'person',
  subject: newId('usr'),
  organizationId: newId('org'),
  roles: ['member'],
})

/**
 * In rounds, each of which asks both in turn. Both answer the same, and right.
 *
 * @throws {Error} on any wrong answer
 */
export async function measureShield(processes: Processes, effort: Effort): Promise<Shield> {
  using keys = testKeys(['gateway', 'allocations'])
  const subgraphs = await Promise.all(NAMES.map((name) => start(processes, name, keys.dir)))
  const next = await requests(keys.dir)
  const samples: Record<Variant, Cost[]> = { guarded: [], open: [] }
  for (let round = 0; round <= effort.rounds; round++) {
    for (const { name, client, running } of subgraphs) {
      const cost = await turn(client, running, next, effort.seconds)
      if (round > 0) samples[name].push(cost) // The first is a warm-up.
    }
  }
  await Promise.all(subgraphs.flatMap(({ client, running }) => [client.close(), running.stop()]))
  const guarded = medians(samples.guarded)
  const open = medians(samples.open)
  return {
    guarded,
    open,
    byCpu: open.perCpuSecond / guarded.perCpuSecond,
    byThroughput: open.perSecond / guarded.perSecond,
    ofExecution: await executionRatio(effort.rounds),
  }
}

async function start(processes: Processes, name: Variant, keysDir: string) {
  const port = await freePort()
  const running = await processes.start({
    name,
    core: SERVER_CORE,
    args: [path.join(import.meta.dirname, 'subgraph.ts'), name, String(port), keysDir],
  })
  return { name, running, client: createClient(`http://127.0.0.1:${port}/graphql`, CONNECTIONS) }
}

async function requests(keysDir: string): Promise<NextRequest> {
  const { privateJwk } = loadKeys(keysDir, 'gateway')
  const signer = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })
  const headers = {
    'content-type': 'application/json',
    [ACTOR_HEADER]: await signer.sign(actor, 'allocations'),
  }
  let round = 0
  return () => {
    const variables = variablesOf(round++)
    const last = `login of ${variables.representations.at(-1)?.id}`
    const body = JSON.stringify({ query: QUERY, variables })
    return { headers, body, isRight: (text) => text.includes(last) && !text.includes('"errors"') }
  }
}

async function turn(
  client: Client,
  running: Running,
  next: NextRequest,
  seconds: number,
): Promise<Cost> {
  await client.saturate(next, seconds / 4)
  const before = running.cpuSeconds()
  const { answers, failures, firstFailure, seconds: took } = await client.saturate(next, seconds)
  const cpu = running.cpuSeconds() - before
  running.assertAlive()
  if (failures > 0) throw new Error(`${running.name} failed ${failures}: ${firstFailure}`)
  return { perSecond: answers / took, perCpuSecond: answers / cpu }
}

function medians(costs: readonly Cost[]): Cost {
  return {
    perSecond: median(costs.map((it) => it.perSecond)),
    perCpuSecond: median(costs.map((it) => it.perCpuSecond)),
  }
}

/** In this process, of the same operation. */
async function executionRatio(rounds: number): Promise<number> {
  const log = createLog({ service: 'bench', instance: 'bench', level: 'warn' })
  const metrics = createMetrics({ service: 'bench' })
  using policy = createPolicyClient({ source, revocations: feed, log, metrics })
  const document = parse(QUERY)
  const schemas = NAMES.map((name) => shieldSchema(schemaOf(SDL, resolvers), variants[name]))
  const times: number[][] = schemas.map(() => [])
  for (let round = 0; round <= rounds * 5; round++) {
    for (const [index, schema] of schemas.entries()) {
      const before = process.cpuUsage()
      for (let turn = 0; turn < EXECUTIONS; turn++) {
        const contextValue = { actor, policy }
        const variableValues = variablesOf(turn)
        const { data } = await execute({ schema, document, contextValue, variableValues })
        const entities = data?._entities as readonly { login: string }[] | undefined
        if (entities?.[ENTITIES - 1]?.login === undefined) throw new Error('a wrong answer')
      }
      const { user, system } = process.cpuUsage(before)
      if (round > rounds) times[index]?.push(user + system)
    }
  }
  const [guarded = [], open = []] = times
  return median(guarded) / median(open)
}
