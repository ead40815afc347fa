import { fakeClock } from '@berth/platform/clock'
import type { Sql } from '@berth/platform/database'
import { idToUuid, newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { createMetrics } from '@berth/platform/metrics'
import { expect, test } from 'vitest'
import { createDecisionLog, type Told } from './decision-log.ts'

const log = createLog({ service: 'policy', instance: 'policy-1', level: 'silent' })
const authority = { kind: 'person', organizationId: newId('org'), roles: ['member'] } as const
const versions = { roles: 1, platform: 1, organization: 0 }
const one = { action: 'allocation:create', facts: {}, granted: null, dependent: null, versions }
const refused: Told = { ...one, authority, isGranted: false, basis: 'NO_PERMIT' }
const granted: Told = { ...one, authority, isGranted: true, basis: 'PLATFORM_PERMIT' }

type Row = { isGranted: boolean; weight: number; at: string; organizationId: string }

/** What it has written when all is done; a write may fail. */
async function logged(
  tell: (
    decisionLog: ReturnType<typeof createDecisionLog>,
    clock: ReturnType<typeof fakeClock>,
  ) => void,
  { random = () => 0, fails = false }: { random?: () => number; fails?: boolean } = {},
) {
  const rows: Row[] = []
  const metrics = createMetrics({ service: 'policy' })
  const clock = fakeClock()
  const sql = {
    async query(text: string, values: unknown[]) {
      if (!text.includes('INSERT')) return []
      if (fails) throw new Error('no database')
      rows.push(...(JSON.parse(String(values[0])) as Row[]))
      return []
    },
  } as unknown as Sql
  {
    await using scope = new AsyncDisposableStack()
    tell(createDecisionLog({ sql, log, metrics, clock, scope, random }), clock)
  }
  const text = await metrics.registry.getSingleMetricAsString(
    'berth_policy_decisions_unlogged_total',
  )
  return { rows, unlogged: Number(/} (\d+)$/m.exec(text)?.[1] ?? 0) }
}

test('of what is granted a sample is kept, which says how much it stands for; refusals all', async () => {
  let turn = 0
  const random = () => (turn++ % 20) / 20
  const { rows } = await logged(
    ({ tell }) => {
      for (let i = 0; i < 100; i++) tell(granted)
      for (let i = 0; i < 100; i++) tell(refused)
    },
    { random },
  )
  const weights = (isGranted: boolean) =>
    rows.filter((it) => it.isGranted === isGranted).map(({ weight }) => weight)
  expect(weights(true)).toEqual([20, 20, 20, 20, 20])
  expect(weights(false)).toHaveLength(100)
  expect(new Set(weights(false))).toEqual(new Set([1]))
})

test('a flood of refusals is bounded by the minute, and what is left out is counted', async () => {
  const floodOf = () => ({ ...refused, authority: { ...authority, organizationId: newId('org') } })
  const { rows, unlogged } = await logged(({ tell }, clock) => {
    for (let i = 0; i < 1_000; i++) tell(floodOf())
    clock.advance(60)
    for (let i = 0; i < 10; i++) tell(refused)
  })
  expect(rows).toHaveLength(610)
  expect(unlogged).toBe(400)
})

test('one organization’s flood hides nothing of another’s', async () => {
  const organizationId = newId('org')
  const { rows, unlogged } = await logged(({ tell }) => {
    for (let i = 0; i < 1_000; i++) tell(refused)
    for (let i = 0; i < 10; i++) tell({ ...refused, authority: { ...authority, organizationId } })
  })
  expect(rows.filter((it) => it.organizationId === idToUuid(organizationId))).toHaveLength(10)
  expect([rows.length, unlogged]).toEqual([110, 900])
})

test('a log that cannot be written stops nobody, and is counted', async () => {
  const { rows, unlogged } = await logged(({ tell }) => tell(refused), { fails: true })
  expect(rows).toEqual([])
  expect(unlogged).toBe(1)
})
