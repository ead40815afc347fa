import type { Contestant } from './contestants.ts'
import { distinctOperations, operations, requestsOf } from './operations.ts'

/** Resident memory of a gateway in MiB, before and while it sees operations that it never saw. */
export type Memory = {
  readonly operations: number
  readonly warmMib: number
  /** After each tenth of them. */
  readonly tenthsMib: readonly number[]
}

/**
 * Sends so many operations that differ in their text: what is kept for an operation must be bounded.
 *
 * @throws {Error} on any wrong answer
 */
export async function measureMemory(
  { name, client, running }: Contestant,
  tokens: readonly string[],
  count: number,
): Promise<Memory> {
  console.log(`memory over ${count} operations of different text`)
  for (const operation of operations)
    await client.send(requestsOf(operation, 'text', tokens), 2_000)
  const warmMib = running.residentMib()
  const tenthsMib: number[] = []
  const next = distinctOperations(tokens)
  while (tenthsMib.length < 10) {
    const { failures, firstFailure, seconds } = await client.send(next, count / 10)
    if (failures > 0) throw new Error(`${name} failed ${failures}: ${firstFailure}`)
    tenthsMib.push(running.residentMib())
    console.log(
      `  ${tenthsMib.length}0 %: ${tenthsMib.at(-1)?.toFixed(0)} MiB, ${(count / 10 / seconds).toFixed(0)} operations/s`,
    )
  }
  return { operations: count, warmMib, tenthsMib }
}
