import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { newId } from '@berth/platform/ids'
import { createLog } from '@berth/platform/log'
import { until } from '@berth/platform/test-kit/index'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testPolicyEngine } from '../conformance.ts'
import type { PolicyEngine, Question, RuleSet } from '../port.ts'
import { createOpaEngine } from './opa.ts'

const log = createLog({ service: 'policy', instance: 'policy-1', level: 'silent' })
const scope = new AsyncDisposableStack()
afterAll(() => scope.disposeAsync())

const program = process.env.BERTH_TEST_OPA ?? onPath('opa')
if (!program) console.warn('OPA is not on PATH nor named by BERTH_TEST_OPA: its half is skipped')

const question: Question = {
  authority: { kind: 'person', organizationId: newId('org'), roles: ['owner'] },
  action: 'allocation:read',
  facts: {},
}
const rulesOf = (rules: string): RuleSet => ({ level: 'ORGANIZATION', roles: {}, rules })

describe.skipIf(!program)('a real server', () => {
  let server: Awaited<ReturnType<typeof startOpa>>
  let engine: PolicyEngine
  beforeAll(async () => {
    server = await startOpa()
    // Fewer slots than the suite has sets of rules.
    engine = createOpaEngine({ url: server.url, name: 'policy-1', log, slots: 3, timeoutMs: 5_000 })
  })

  testPolicyEngine(
    'opa',
    () => createOpaEngine({ url: server.url, name: newId('org'), log, slots: 3, timeoutMs: 5_000 }),
    {
      permitEverything: 'permit := true',
      forbidEverything: 'forbid := true',
      freeze: 'forbid if input.action == "allocation:create"',
      capGpus: `forbid if {
      input.action == "allocation:create"
      input.facts.gpuCount > 1
    }`,
      permitFewGpus: `permit if {
      "member" in input.principal.roles
      input.action == "allocation:create"
      not input.facts.gpuCount > 2
    }`,
      viewersMayOpenTerminals:
        'permit if { "viewer" in input.principal.roles; input.action == "terminal:open" }',
      viewersMayNotOpenTerminals:
        'forbid if { "viewer" in input.principal.roles; input.action == "terminal:open" }',
      noBillingForKeys:
        'forbid if { input.principal.kind == "api-key"; startswith(input.action, "billing:") }',
      forbidOrganization: (id) => `forbid if input.principal.organization == "${id}"`,
      failing:
        'permit if { "viewer" in input.principal.roles; input.action == "billing:read"; 1 / count(x) > 0 }\nx := [y | y := input.facts.none]',
      unreadable: 'permit everything',
      unknownInLine2: 'forbid if {\n  actoin == "allocation:nope"\n}',
    },
  )

  test.each(
    Object.entries({
      'another’s rules': ['permit if data.berth[_][_].permit', /data/],
      'all rules': ['permit if count(data) > 0', /data/],
      'the network': [
        'permit if http.send({"method": "get", "url": "http://127.0.0.1"}).status_code == 200',
        /http.send/,
      ],
      'the environment': ['permit if opa.runtime().env.SECRET', /opa.runtime/],
      'the time': ['permit if time.now_ns() > 0', /time.now_ns/],
      chance: ['permit if rand.intn("x", 2) == 1', /rand.intn/],
      'the whole input': ['permit if { some name, value in input; name == value }', /input/],
      'our own rule': ['berth_answer := {"mark": "x", "permit": [true], "forbid": []}', /./],
      'another package': ['package berth["policy-1"]["slot 0"]\npermit := true', /package/],
      'an import': ['import data.berth\npermit if berth.x', /./],
      'what is no boolean': ['permit := "yes"', /true or false/],
      'a conflict': ['x := 1 if input.action\nx := 2 if input.action\npermit if x == 1', /500/],
    } satisfies Record<string, [string, RegExp]>),
  )('refuses to reach for %s', async (_what, [rules, message]) => {
    expect((await engine.validate(rules, 'ORGANIZATION')).join('\n')).toMatch(message)
  })

  test('a trial leaves nothing behind', async () => {
    await engine.validate('permit := true', 'ORGANIZATION')
    const answer = await fetch(`${server.url}/v1/policies`)
    expect(await answer.text()).not.toContain('trial')
  })

  test('rules that take too long are refused, and denied where they were set all the same', async () => {
    const range = `[${Array.from({ length: 100 }, (_, i) => i).join()}]`
    const slow = `permit if { some a in x; some b in x; some c in x; some d in x; some e in x; a + b + c + d + e == 1000 }\nx := ${range}`
    const hasty = createOpaEngine({ url: server.url, name: 'policy-2', log, timeoutMs: 3_000 })
    expect((await hasty.validate(slow, 'ORGANIZATION')).join()).toMatch(/cannot be evaluated/)
    expect(await hasty.evaluate(rulesOf(slow), question)).toBe('error')
    const patient = createOpaEngine({ url: server.url, name: 'policy-3', log, timeoutMs: 5_000 })
    expect(await patient.evaluate(rulesOf('permit := true'), question)).toBe('permit')
  })

  test('what a restart has forgotten is loaded again', async () => {
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('permit')
    await server.restart()
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('permit')
  })

  test('two processes of one name, at one slot, never answer for each other', async () => {
    const replicas = [1, 2].map(() =>
      createOpaEngine({ url: server.url, name: 'policy-4', log, slots: 1, timeoutMs: 5_000 }),
    )
    const verdicts = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        replicas[i % 2]!.evaluate(rulesOf(i % 2 ? 'permit := true' : 'forbid := true'), question),
      ),
    )
    verdicts.forEach((verdict, i) => {
      expect([i % 2 ? 'permit' : 'forbid', 'error']).toContain(verdict)
    })
  })
})

describe('a server that answers nonsense', () => {
  test.each(
    Object.entries({
      nothing: '{}',
      'no JSON': '<html>',
      'a list': '[]',
      'another’s answer': '{"result": {"mark": "x", "permit": [true], "forbid": []}}',
      'an answer to nobody': '{"result": {"permit": [true], "forbid": []}}',
    }),
  )('%s is no permit', async (_what, body) => {
    const url = await serve((request, response) => {
      response.end(request.method === 'PUT' ? '{}' : body)
    })
    const engine = createOpaEngine({ url, name: 'policy-1', log })
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('error')
  })

  test.each([
    '"role": true, "permit": "yes", "forbid": []',
    '"role": true, "permit": true, "forbid": []',
    '"role": true, "permit": [true, true], "forbid": []',
    '"role": true, "permit": [1], "forbid": []',
    '"role": true, "permit": [true]',
    '"role": [true], "permit": [true], "forbid": []',
    '"permit": [true], "forbid": []',
  ])('%s is no permit', async (fields) => {
    let mark = ''
    const url = await serve((request, response) => {
      if (request.method !== 'PUT') return response.end(`{"result": {"mark": ${mark}, ${fields}}}`)
      request.setEncoding('utf8').on('data', (text) => {
        mark ||= /"mark": ("[^"]+")/.exec(text)?.[1] ?? ''
      })
      request.on('end', () => response.end('{}'))
    })
    const engine = createOpaEngine({ url, name: 'policy-1', log })
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('error')
    expect(mark).not.toBe('')
  })

  test('is told of no roles of a service', async () => {
    const inputs: string[] = []
    const url = await serve((request, response) => {
      request.setEncoding('utf8').on('data', (text) => {
        if (request.method === 'POST') inputs.push(String(text))
      })
      request.on('end', () => response.end('{}'))
    })
    const engine = createOpaEngine({ url, name: 'policy-1', log })
    const authority = { ...question.authority, kind: 'service' } as const
    await engine.evaluate(rulesOf('permit := true'), { ...question, authority })
    expect(inputs[0]).toContain('"roles":[]')
  })

  test('another address that it sends us to is not asked', async () => {
    const asked: string[] = []
    const other = await serve((request, response) => {
      asked.push(request.url ?? '')
      response.end('{}')
    })
    const url = await serve((_request, response) =>
      response.writeHead(307, { location: `${other}/v1/data` }).end(),
    )
    const engine = createOpaEngine({ url, name: 'policy-1', log })
    await expect(engine.evaluate(rulesOf(''), question)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    expect(asked).toEqual([])
  })

  test('nobody there is “not now”, and no decision', async () => {
    const engine = createOpaEngine({ url: 'http://127.0.0.1:1', name: 'policy-1', log })
    await expect(engine.validate('permit := true', 'PLATFORM')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    await expect(engine.evaluate(rulesOf(''), question)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
  })

  test('no answer in time is no permit, and is not waited for again at once', async () => {
    let asked = 0
    const url = await serve((request, response) => {
      if (request.method === 'PUT') response.end('{}')
      else asked++
    })
    const engine = createOpaEngine({ url, name: 'policy-1', log, timeoutMs: 200 })
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('error')
    expect(await engine.evaluate(rulesOf('permit := true'), question)).toBe('error')
    expect(asked).toBe(1)
  })
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer((request, response) => {
    if (request.method !== 'PUT') request.resume()
    listener(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function startOpa() {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  let running = await start()
  scope.defer(() => end(running))
  return {
    url,
    async restart() {
      await end(running)
      running = await start()
    },
  }

  async function start() {
    const child = spawn(
      program!,
      [
        'run',
        '--server',
        '--addr',
        `127.0.0.1:${port}`,
        '--log-level',
        'error',
        '--disable-telemetry',
      ],
      { stdio: 'ignore' },
    )
    await until(async () => {
      const { ok } = await fetch(`${url}/health`)
      if (!ok) throw new Error('not healthy yet')
    })
    return child
  }

  async function end(child: Awaited<ReturnType<typeof start>>) {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function onPath(name: string): string | undefined {
  try {
    return execFileSync('which', [name], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}
