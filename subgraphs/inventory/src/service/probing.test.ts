import { readFileSync } from 'node:fs'
import { newUuid } from '@berth/platform/ids'
import { armFault } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type GpuReport, parseNvidiaSmi } from '../domain/nvidia-smi.ts'
import { type NodeProbe, ProbeNotMade, type ProbeResult, type ProbeTarget } from '../probe.ts'
import { insertNode, readNode } from '../store/nodes.ts'
import { latestProbes } from '../store/probes.ts'
import { FINGERPRINT, type Fixture, openFixture, silent } from '../test-fixture.ts'
import { createProbing } from './probing.ts'
import { seedDevelopment } from './seed.ts'

let it: Fixture
let answer: (target: ProbeTarget) => ProbeResult | Promise<ProbeResult>
const probe: NodeProbe = { probe: async (target) => answer(target) }
beforeAll(async () => {
  it = await openFixture()
})
beforeEach(async () => {
  await it.clear()
  answer = () => good([gpu('1'), gpu('2')])
})
afterAll(() => it[Symbol.asyncDispose]())

const EVERY = 30

function probing(replica = 0) {
  const { database } = it.replicas[replica]!
  return createProbing({ database, clock: it.clock, log: silent, probe, everySeconds: EVERY })
}

function gpu(name: string, given: Partial<GpuReport> = {}): GpuReport {
  return {
    uuid: `GPU-0000000${name}`,
    index: 0,
    productName: 'NVIDIA A100-SXM4-80GB',
    memoryMib: 81920,
    isMig: false,
    recovery: null,
    utilizationPercent: 0,
    temperatureC: 27,
    powerW: 67.03,
    ...given,
  }
}

function good(gpus: GpuReport[], hostKeyFingerprint = FINGERPRINT): ProbeResult {
  const listed = gpus.map((it, index) => ({ ...it, index }))
  const report = { driverVersion: '535', gpus: listed, unidentified: 0 }
  return { ok: true, latencyMs: 3, hostKeyFingerprint, report }
}

const miss = (): ProbeResult => ({ ok: false, latencyMs: null, problem: 'NO_ANSWER' })

async function enroll(name = 'one') {
  const node = await insertNode(it.sql, {
    id: newUuid(),
    name,
    regionCode: 'eu-1',
    host: `${name}.example`,
    port: 22,
    username: 'berth',
    hostKeyFingerprint: null,
    createdAt: it.clock.now(),
  })
  return node!.id
}

async function standing(id: string) {
  const { state, health, misses } = (await readNode(it.sql, id))!
  return { state, health, misses }
}

async function told() {
  const rows = await it.sql.query<{ seq: bigint; data: { state: string; health: string } }>(
    `SELECT aggregate_seq AS seq, envelope->'data' AS data FROM outbox ORDER BY insert_seq`,
  )
  return rows.map(({ data }) => `${data.state} ${data.health}`)
}

async function next() {
  it.clock.advance(EVERY)
  await probing().tick()
}

describe('a node', () => {
  test('that answers is READY, pinned, and has a slot for each GPU; again, the same', async () => {
    const id = await enroll()
    await probing().tick()
    expect(await standing(id)).toEqual({ state: 'READY', health: 'HEALTHY', misses: 0 })
    expect((await readNode(it.sql, id))?.hostKeyFingerprint).toBe(FINGERPRINT)
    const slots = await it.slots(id)
    expect(slots.map(({ gpuUuid, index, state }) => [gpuUuid, index, state])).toEqual([
      ['GPU-00000001', 0, 'FREE'],
      ['GPU-00000002', 1, 'FREE'],
    ])
    await next()
    expect(await it.slots(id)).toEqual(slots)
    expect(await told()).toEqual(['READY HEALTHY'])
    expect(await latestProbes(it.sql, [id])).toMatchObject([
      { ok: true, latencyMs: 3, gpuCount: 2, problem: null, at: it.clock.now() },
    ])
  })

  test('is not probed before it is due', async () => {
    await enroll()
    expect(await probing().tick()).toBe(1)
    it.clock.advance(EVERY - 1)
    expect(await probing().tick()).toBe(0)
    it.clock.advance(1)
    expect(await probing().tick()).toBe(1)
  })

  test('is UNREACHABLE after three misses, and READY after one answer', async () => {
    const id = await enroll()
    await probing().tick()
    answer = miss
    for (let n = 0; n < 5; n++) await next()
    expect(await standing(id)).toEqual({ state: 'UNREACHABLE', health: 'FAILURE', misses: 5 })
    answer = () => good([gpu('1'), gpu('2')])
    await next()
    expect(await told()).toEqual([
      'READY HEALTHY',
      'READY WARNING',
      'UNREACHABLE FAILURE',
      'READY HEALTHY',
    ])
  })

  test('that presents another host key fails at once, and its GPUs are not believed', async () => {
    const id = await enroll()
    await probing().tick()
    answer = () => good([gpu('9')], `SHA256:${'b'.repeat(43)}`)
    await next()
    expect(await standing(id)).toMatchObject({ state: 'READY', health: 'FAILURE' })
    expect((await it.slots(id)).map(({ gpuUuid }) => gpuUuid)).not.toContain('GPU-00000009')
    expect((await readNode(it.sql, id))?.hostKeyFingerprint).toBe(FINGERPRINT)
    expect(await latestProbes(it.sql, [id])).toMatchObject([
      { ok: false, problem: 'HOST_KEY_CHANGED' },
    ])
  })

  test('is not blamed for what is ours, and is tried again soon', async () => {
    const id = await enroll()
    await probing().tick()
    const before = await standing(id)
    answer = () => {
      throw new ProbeNotMade('no certificate')
    }
    for (let n = 0; n < 5; n++) await next()
    expect(await standing(id)).toEqual(before)
    answer = () => good([gpu('1'), gpu('2')])
    it.clock.advance(2)
    expect(await probing().tick()).toBe(1)
  })

  test.each([
    ['of an unknown model', { productName: 'Graphics Device' }, 'UNKNOWN_GPU_MODEL'],
    ['cut into MIG devices', { isMig: true }, 'MIG_ENABLED'],
    ['that wants a reset', { recovery: 'Reset' }, 'GPU_NEEDS_RECOVERY'],
  ])('with a GPU %s is in WARNING, and the GPU is no slot', async (_name, given, problem) => {
    const id = await enroll()
    answer = () => good([gpu('1'), gpu('2', given)])
    await probing().tick()
    expect(await standing(id)).toMatchObject({ state: 'READY', health: 'WARNING' })
    expect(await it.slots(id)).toHaveLength(1)
    expect(await latestProbes(it.sql, [id])).toMatchObject([{ ok: true, gpuCount: 2, problem }])
  })

  test('with no GPU to rent stays ENROLLING', async () => {
    const id = await enroll()
    answer = () => good([gpu('1', { productName: 'Quadro P400' })])
    await probing().tick()
    expect(await standing(id)).toMatchObject({ state: 'ENROLLING', health: 'WARNING' })
  })

  test('whose GPU is gone has its free slot quarantined, and a taken one left alone', async () => {
    const id = await enroll()
    answer = () => good([gpu('1'), gpu('2'), gpu('3')])
    await probing().tick()
    const [{ slots }] = it.replicas
    const demand = { organizationId: newUuid(), gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }
    const held = await slots.hold({ ...demand, allocationId: newUuid(), run: 1, region: null })
    expect(held.slots[0]?.gpuUuid).toBe('GPU-00000001')
    answer = () => good([gpu('3')])
    await next()
    const states = (await it.slots(id)).map(({ gpuUuid, state, index }) => [gpuUuid, state, index])
    expect(states).toEqual(
      expect.arrayContaining([
        ['GPU-00000001', 'HELD', 0],
        ['GPU-00000002', 'QUARANTINED', 1],
        ['GPU-00000003', 'FREE', 0],
      ]),
    )
    expect(await standing(id)).toMatchObject({ state: 'READY', health: 'WARNING' })
    // Back again, it stays out of service until somebody has looked.
    answer = () => good([gpu('1'), gpu('2'), gpu('3')])
    await next()
    expect((await it.slots(id)).filter(({ state }) => state === 'QUARANTINED')).toHaveLength(1)
  })

  test('does not take the slot of a GPU that another node has', async () => {
    const first = await enroll('one')
    await probing().tick()
    const second = await enroll('two')
    await probing().tick()
    expect(await it.slots(first)).toHaveLength(2)
    expect(await it.slots(second)).toHaveLength(0)
    expect(await standing(second)).toMatchObject({ state: 'ENROLLING', health: 'WARNING' })
  })

  test.each(['a100-sxm4-v12', 'tesla-t4', 'gtx-1660-ti', 'rtx-4000-sff-ada-v13'])(
    'that answers as %s did is recorded',
    async (name) => {
      const xml = readFileSync(new URL(`../../test-data/${name}.xml`, import.meta.url), 'utf8')
      const report = parseNvidiaSmi(xml)
      answer = () => ({ ok: true, latencyMs: 1, hostKeyFingerprint: FINGERPRINT, report })
      const id = await enroll()
      await probing().tick()
      expect(await latestProbes(it.sql, [id])).toMatchObject([{ ok: true, gpuCount: 1 }])
    },
  )
})

describe('replicas', () => {
  test('that look at once probe each node once', async () => {
    for (let n = 0; n < 8; n++) await enroll(`n${n}`)
    const asked: string[] = []
    answer = ({ name }) => {
      asked.push(name)
      return miss()
    }
    await Promise.all(Array.from({ length: 20 }, (_, n) => probing(n % 2).tick()))
    expect(asked.sort()).toEqual(Array.from({ length: 8 }, (_, n) => `n${n}`))
  })

  test('take over from one that died, whose late result changes nothing', async () => {
    const id = await enroll()
    const late = Promise.withResolvers<ProbeResult>()
    answer = () => late.promise
    const dying = probing(0).tick()
    await vi.waitFor(async () => {
      const [row] = await it.sql.query('SELECT FROM nodes WHERE probe_token IS NOT NULL')
      expect(row).toBeDefined()
    })
    expect(await probing(1).tick()).toBe(0)
    it.clock.advance(60)
    answer = () => good([gpu('1')])
    expect(await probing(1).tick()).toBe(1)
    late.resolve(good([gpu('7')]))
    await dying
    expect((await it.slots(id)).map(({ gpuUuid }) => gpuUuid)).toEqual(['GPU-00000001'])
    expect(await told()).toEqual(['READY HEALTHY'])
  })

  test('asked to probe now wait for the probe under way', async () => {
    const id = await enroll()
    const late = Promise.withResolvers<ProbeResult>()
    let asked = 0
    answer = () => {
      asked += 1
      return asked === 1 ? late.promise : good([gpu('1')])
    }
    const scheduled = probing(0).tick()
    await vi.waitFor(() => expect(asked).toBe(1))
    const now = probing(1).probeNow(id)
    late.resolve(good([gpu('1')]))
    await scheduled
    expect(await now).toMatchObject({ state: 'READY' })
    await expect(probing().probeNow(newUuid())).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

test.each(['inventory.probe.recorded'])(
  'a probe that dies at %s changes nothing',
  async (point) => {
    const id = await enroll()
    const disarm = armFault(point, () => {
      throw new Error('killed')
    })
    await expect(probing().tick()).rejects.toThrow('killed')
    disarm()
    expect(await standing(id)).toMatchObject({ state: 'ENROLLING' })
    expect(await it.slots(id)).toEqual([])
    expect(await told()).toEqual([])
    it.clock.advance(60)
    await probing().tick()
    expect(await standing(id)).toMatchObject({ state: 'READY' })
  },
)

test('a cordoned node stays cordoned while it is probed', async () => {
  const id = await enroll()
  await probing().tick()
  await it.asAdmin("UPDATE nodes SET state = 'CORDONED'")
  answer = miss
  for (let n = 0; n < 4; n++) await next()
  expect(await standing(id)).toMatchObject({ state: 'CORDONED', health: 'FAILURE' })
})

test('what is old is forgotten, what is not is kept', async () => {
  const id = await enroll()
  await probing().tick()
  it.clock.advance(7 * 86_400 - 1)
  await probing().prune()
  expect(await latestProbes(it.sql, [id])).toHaveLength(1)
  it.clock.advance(2)
  await probing().prune()
  expect(await latestProbes(it.sql, [id])).toHaveLength(0)
})

test('the development node is seeded once, and enrolled anew when it moves', async () => {
  const seed = (port: number) =>
    it.replicas[0].database.sqlTransaction((sql) =>
      seedDevelopment(sql, {
        id: newUuid(),
        now: it.clock.now(),
        node: { host: '127.0.0.1', port },
        username: 'berth',
      }),
    )
  await seed(4031)
  await probing().tick()
  await seed(4031)
  const [{ id } = { id: '' }] = await it.sql.query<{ id: string }>('SELECT id FROM nodes')
  expect(await standing(id)).toMatchObject({ state: 'READY' })
  await seed(5031)
  expect(await readNode(it.sql, id)).toMatchObject({
    state: 'ENROLLING',
    port: 5031,
    hostKeyFingerprint: null,
  })
  await probing().tick()
  expect(await standing(id)).toMatchObject({ state: 'READY' })
  expect(await told()).toEqual([
    'ENROLLING WARNING',
    'READY HEALTHY',
    'ENROLLING WARNING',
    'READY HEALTHY',
  ])
})
