import { machine, table, writeSection } from '../page.ts'
import { atMost, type Bar, below, round3 } from '../statistics.ts'
import type { Changes, Delays } from './changes.ts'
import type { Shield } from './shield.ts'

export type Findings = {
  readonly told: Changes
  /** With every message of it lost. */
  readonly lost: Changes
  readonly shield: Shield
}

export function barsOf({ told, lost, shield }: Findings): Record<string, Bar> {
  return {
    change_p99_ms: below(told.answered.p99, 100),
    lost_message_ms: below(lost.asked.most, 3_000),
    shield_by_cpu: atMost(shield.byCpu, 1.5),
    shield_by_throughput: atMost(shield.byThroughput, 1.5),
  }
}

export function markdownOf({ told, lost, shield }: Findings): string {
  const delays = (title: string, { p50, p99, most }: Delays) => [
    title,
    ...[p50, p99, most].map((it) => String(round3(it))),
  ]
  const { guarded, open } = shield
  return [
    table(
      ['', 'p50 ms', 'p99 ms', 'most ms'],
      [
        delays('after the change was answered', told.answered),
        delays('after it was asked for', told.asked),
        delays('every message lost, after it was asked for', lost.asked),
      ],
    ),
    `${told.changes} times that a process took a change up, ${lost.changes} with every message lost; two ` +
      `gateways, two subgraphs and two replicas of policy, on ${machine()}.`,
    table(
      ['50 entities of eight fields', 'requests/s', 'per cpu s'],
      [
        ['without rules', String(round3(open.perSecond)), String(round3(open.perCpuSecond))],
        [
          'eight fields ruled',
          String(round3(guarded.perSecond)),
          String(round3(guarded.perCpuSecond)),
        ],
      ],
    ),
    `With rules a request costs ${shield.byCpu.toFixed(2)} × the processor time; its execution alone, without ` +
      `HTTP, assertion and parsing, ${shield.ofExecution.toFixed(2)} ×.`,
  ].join('\n\n')
}

/** Writes the section of `doc/performance.md`. */
export function write(findings: Findings): void {
  writeSection('policy', markdownOf(findings))
}
