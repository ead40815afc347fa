import { randomBytes, randomInt } from 'node:crypto'
import { DomainError } from '@berth/platform/errors'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { CHANNEL } from './protocol.ts'
import { createSession, type Link, type Shell } from './session.ts'

const WINDOW = 10_000
const LIMITS = {
  outputWindow: WINDOW,
  inputWindow: 1_000,
  scrollbackBytes: 20_000,
  resumeSeconds: 60,
  idleSeconds: 600,
  maxSeconds: 3_600,
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function fakeShell() {
  const exit = Promise.withResolvers<{ code: number | null; signal: string | null }>()
  let emit: (chunk: Uint8Array, stream: 'stdout' | 'stderr') => void = () => {}
  const shell = {
    isPaused: false,
    isClosed: false,
    input: [] as { bytes: Buffer; taken: () => void }[],
    sizes: [] as string[],
    exited: exit.promise,
    exit: exit.resolve,
    say: (chunk: Uint8Array, stream: 'stdout' | 'stderr' = 'stdout') => emit(chunk, stream),
    onOutput(listener: typeof emit) {
      emit = listener
    },
    write(chunk: Uint8Array, taken: () => void) {
      shell.input.push({ bytes: Buffer.from(chunk), taken })
    },
    pause() {
      shell.isPaused = true
    },
    resume() {
      shell.isPaused = false
    },
    resize(columns: number, rows: number) {
      shell.sizes.push(`${columns}x${rows}`)
    },
    close() {
      shell.isClosed = true
    },
  }
  return shell satisfies Shell
}

function fakeLink() {
  const frames: Buffer[] = []
  const link = {
    frames,
    bufferedBytes: 0,
    closed: null as number | null,
    send: (frame: Uint8Array) => void frames.push(Buffer.from(frame)),
    close(code: number) {
      link.closed ??= code
    },
    of: (channel: number) =>
      frames.filter((frame) => frame[0] === channel).map((frame) => frame.subarray(1)),
    json: (channel: number) => JSON.parse(link.of(channel).at(-1)?.toString() ?? 'null'),
    output: () => Buffer.concat(link.of(CHANNEL.STDOUT)),
  }
  return link satisfies Link
}

function open() {
  const shell = fakeShell()
  const session = createSession({ id: 'tms_1', shell, limits: LIMITS })
  const link = fakeLink()
  const attachment = session.attach(link, { offset: 0, secret: 'secret' })
  return { shell, session, link, attachment }
}

test('ready tells where both directions stand, and the secret once', () => {
  const { session, link, shell, attachment } = open()
  expect(link.json(CHANNEL.READY)).toEqual({
    sessionId: 'tms_1',
    secret: 'secret',
    outputOffset: 0,
    inputOffset: 0,
    inputAcknowledged: 0,
    outputWindow: WINDOW,
    inputWindow: 1_000,
    resumeSeconds: 60,
  })
  shell.say(Buffer.from('hello'))
  attachment.input(Buffer.from('abc'))
  attachment.detach(false)
  const again = fakeLink()
  session.attach(again, { offset: 3 })
  const { secret, ...ready } = again.json(CHANNEL.READY)
  expect(secret).toBeUndefined()
  expect(ready).toMatchObject({ outputOffset: 3, inputOffset: 3, inputAcknowledged: 0 })
  expect(again.output().toString()).toBe('lo')
})

test('no more than a window is sent unacknowledged, and the shell is paused at it', () => {
  const { shell, link, attachment } = open()
  for (let times = 0; times < 4; times++) shell.say(Buffer.alloc(3_000))
  expect(link.output()).toHaveLength(WINDOW)
  expect(shell.isPaused).toBe(true)
  attachment.acknowledge(6_000)
  expect(link.output()).toHaveLength(12_000)
  expect(shell.isPaused).toBe(true)
  attachment.acknowledge(12_000)
  expect(shell.isPaused).toBe(false)
})

test('a link that does not drain is sent nothing more, though its client acknowledges', () => {
  const { shell, link, attachment } = open()
  link.bufferedBytes = WINDOW
  shell.say(Buffer.alloc(4_000))
  expect(link.output()).toHaveLength(0)
  link.bufferedBytes = 0
  attachment.flushed()
  expect(link.output()).toHaveLength(4_000)
})

test('with nobody connected the shell goes on for one window, and then waits', () => {
  const { shell, attachment, session } = open()
  attachment.detach(false)
  for (let times = 0; times < 100 && !shell.isPaused; times++) shell.say(Buffer.alloc(1_000, 7))
  expect(shell.isPaused).toBe(true)
  const link = fakeLink()
  session.attach(link, { offset: 0 })
  expect(link.output()).toEqual(Buffer.alloc(WINDOW, 7))
})

test('over random losses every byte of output arrives once, in order', () => {
  const { shell, session, ...first } = open()
  const said: Buffer[] = []
  let { link, attachment } = first
  let got = Buffer.alloc(0)
  let acknowledged = 0
  const collect = () => {
    const read = link.output()
    // The network loses a tail: what was on its way when the connection broke.
    return read.subarray(0, randomInt(acknowledged, read.length + 1))
  }
  for (let step = 0; step < 3_000; step++) {
    if (!shell.isPaused) {
      const chunk = randomBytes(randomInt(1, 500))
      said.push(chunk)
      shell.say(chunk, 'stdout')
    }
    const action = randomInt(20)
    if (action === 0) {
      got = Buffer.concat([got, collect()])
      acknowledged = 0
      attachment.detach(false)
      link = fakeLink()
      attachment = session.attach(link, { offset: got.length })
    } else if (action < 10) {
      acknowledged = link.output().length
      attachment.acknowledge(got.length + acknowledged)
    }
  }
  got = Buffer.concat([got, link.output()])
  const all = Buffer.concat(said)
  expect(all.subarray(0, got.length).equals(got)).toBe(true)
  expect(got.length).toBeGreaterThan(all.length - 2 * WINDOW)
})

test('an old connection can do nothing once another took over', () => {
  const { session, link, attachment, shell } = open()
  const next = fakeLink()
  const current = session.attach(next, { offset: 0 })
  expect(link.json(CHANNEL.ERROR).code).toBe('CONFLICT')
  expect(link.closed).toBe(4_410)
  attachment.input(Buffer.from('rm'))
  attachment.close()
  attachment.detach(false)
  current.input(Buffer.from('ls'))
  expect(shell.input.map((it) => it.bytes.toString())).toEqual(['ls'])
  expect(shell.isClosed).toBe(false)
})

test('input beyond its window is refused, and acknowledged by the quarter', () => {
  const { attachment, link, shell } = open()
  for (let times = 0; times < 10; times++) attachment.input(Buffer.alloc(100))
  expect(() => attachment.input(Buffer.alloc(1))).toThrow(DomainError)
  for (const { taken } of shell.input) taken()
  expect(link.of(CHANNEL.ACK).map((it) => Number(it.readBigUInt64BE()))).toEqual([300, 600, 900])
  attachment.input(Buffer.alloc(1_000))
})

test('of many sizes at once the first and the last are set', () => {
  const { attachment, shell } = open()
  for (let columns = 80; columns <= 200; columns++) attachment.resize(columns, 24)
  vi.advanceTimersByTime(100)
  expect(shell.sizes).toEqual(['80x24', '200x24'])
})

test('the end is told after all output, also to who comes back for it', async () => {
  const { shell, session, link, attachment } = open()
  attachment.detach(false)
  shell.say(Buffer.from('last words'))
  shell.exit({ code: 3, signal: null })
  await shell.exited
  expect(link.of(CHANNEL.CLOSE)).toEqual([])
  const next = fakeLink()
  const back = session.attach(next, { offset: 0 })
  expect(next.output().toString()).toBe('last words')
  expect(next.json(CHANNEL.CLOSE)).toEqual({ code: 3, signal: null })
  expect(next.closed).toBe(1_000)
  // Until the client has closed in turn, it may not have heard.
  back.detach(false)
  const again = fakeLink()
  session.attach(again, { offset: 10 }).detach(true)
  expect(again.json(CHANNEL.CLOSE)).toEqual({ code: 3, signal: null })
  expect(await session.ended).toBe('EXIT')
})

test('a lost node is an error, after all output', async () => {
  const { shell, session, link } = open()
  shell.say(Buffer.from('last words'))
  shell.exit({ code: null, signal: null })
  expect(await session.ended).toBe('ERROR')
  expect(link.output().toString()).toBe('last words')
  expect(link.of(CHANNEL.CLOSE)).toEqual([])
  expect(link.json(CHANNEL.ERROR).code).toBe('UPSTREAM_UNAVAILABLE')
  expect(link.closed).toBe(4_502)
})

test.each([
  ['resumeSeconds', 'CLIENT', false],
  ['idleSeconds', 'IDLE', true],
  ['maxSeconds', 'MAX_DURATION', true],
] as const)('%s ends the session as %s', async (limit, reason, isConnected) => {
  const { shell, session, attachment, link } = open()
  if (!isConnected) attachment.detach(false)
  if (limit === 'maxSeconds') {
    for (let seconds = 0; seconds < LIMITS.maxSeconds - 60; seconds += 60) {
      vi.advanceTimersByTime(60_000)
      shell.say(Buffer.from('.'))
    }
    vi.advanceTimersByTime(59_000)
  } else vi.advanceTimersByTime(LIMITS[limit] * 1_000 - 1)
  expect(shell.isClosed).toBe(false)
  vi.advanceTimersByTime(1_001)
  expect(shell.isClosed).toBe(true)
  expect(await session.ended).toBe(reason)
  if (isConnected) expect(link.closed).toBe(4_504)
  expect(() => session.attach(fakeLink(), { offset: 0 })).toThrow(DomainError)
})

test('coming back in time keeps the session for as long again', () => {
  const { shell, session, attachment } = open()
  let current = attachment
  for (let times = 0; times < 5; times++) {
    current.detach(false)
    vi.advanceTimersByTime(59_000)
    current = session.attach(fakeLink(), { offset: null })
  }
  expect(shell.isClosed).toBe(false)
})
