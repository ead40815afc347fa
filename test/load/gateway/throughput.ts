import type { Client } from '../load.ts'
import { median } from '../statistics.ts'
import type { Contestant, Name } from './contestants.ts'
import { assertRight, type Operation, operations, requestsOf } from './operations.ts'

/** What one contestant did with one operation, medians of all rounds. */
export type Throughput = {
  readonly perSecond: number
  readonly perCpuSecond: number
  /** Share of its processor that its process used: 1 when nothing else held it up. */
  readonly cpuShare: number
}

export type Throughputs = Readonly<Record<Operation['name'], Partial<Record<Name, Throughput>>>>

export type Effort = {
  readonly rounds: number
  readonly warmSeconds: number
  readonly leadSeconds: number
  readonly seconds: number
}

/**
 * As much as each takes, in rounds: in each round every contestant has its turn with every operation,
 * so that what the machine does meanwhile falls on all. Before its turn, each must answer right.
 *
 * @throws {Error} on any wrong answer
 */
export async function measureThroughput(
  contestants: readonly Contestant[],
  tokens: readonly string[],
  effort: Effort,
): Promise<Throughputs> {
  const samples = new Map<string, Throughput[]>()
  for (let round = 0; round <= effort.rounds; round++) {
    console.log(round === 0 ? 'warming up' : `throughput, round ${round} of ${effort.rounds}`)
    for (const operation of operations) {
      for (const contestant of contestants) {
        const seconds = round === 0 ? effort.warmSeconds : effort.seconds
        const sample = await turn(contestant, operation, tokens, effort.leadSeconds, seconds)
        if (round === 0) continue
        console.log(`  ${operation.name} ${contestant.name}: ${line(sample)}`)
        const key = `${operation.name} ${contestant.name}`
        samples.set(key, [...(samples.get(key) ?? []), sample])
      }
    }
  }
  const of = (operation: Operation) =>
    Object.fromEntries(
      contestants.map(({ name }) => [
        name,
        medians(samples.get(`${operation.name} ${name}`) ?? []),
      ]),
    )
  const [entities, single] = operations
  return { entities: of(entities), single: of(single) }
}

async function turn(
  { name, face, client, running }: Contestant,
  operation: Operation,
  tokens: readonly string[],
  leadSeconds: number,
  seconds: number,
): Promise<Throughput> {
  const next = requestsOf(operation, face, tokens)
  await askOnce(name, client, next)
  await client.saturate(next, leadSeconds)
  const cpuBefore = running.cpuSeconds()
  const { answers, failures, firstFailure, seconds: took } = await client.saturate(next, seconds)
  const cpu = running.cpuSeconds() - cpuBefore
  running.assertAlive()
  if (failures > 0) throw new Error(`${name} failed ${failures} of ${answers}: ${firstFailure}`)
  return { perSecond: answers / took, perCpuSecond: answers / cpu, cpuShare: cpu / took }
}

async function askOnce(name: Name, client: Client, next: ReturnType<typeof requestsOf>) {
  const request = next()
  const { status, text } = await client.ask(request)
  assertRight(name, request, status, text)
}

function medians(samples: readonly Throughput[]): Throughput {
  return {
    perSecond: median(samples.map((it) => it.perSecond)),
    perCpuSecond: median(samples.map((it) => it.perCpuSecond)),
    cpuShare: median(samples.map((it) => it.cpuShare)),
  }
}

function line({ perSecond, perCpuSecond, cpuShare }: Throughput): string {
  return `${perSecond.toFixed(0)}/s, ${perCpuSecond.toFixed(0)} per processor second, ${(cpuShare * 100).toFixed(0)} % of its processor`
}
