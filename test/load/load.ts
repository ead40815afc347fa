import { Pool } from 'undici'

/** One request to send, and how its answer is told from a wrong one. */
export type LoadRequest = {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Looks into an answer; for a few of them, since looking costs the load's own processor time. */
  readonly isRight: (text: string) => boolean
}

/** Gives the next request: never the same twice in a row. */
export type NextRequest = () => LoadRequest

export type Measured = {
  readonly answers: number
  readonly failures: number
  readonly firstFailure: string | undefined
  readonly seconds: number
  /** From when each was due to be sent, in milliseconds. */
  readonly latenciesMs: readonly number[]
}

export type Client = {
  /** Sends one and gives the whole answer. */
  ask(request: LoadRequest): Promise<{ status: number; text: string }>
  /** As many at a time as there are connections, one after another. */
  saturate(next: NextRequest, seconds: number): Promise<Measured>
  /**
   * At a rate, whether or not answers come. A request is due at its time and its latency counts from
   * then, also while it waits for a connection: a slow server delays nobody's clock.
   */
  offer(next: NextRequest, ratePerSecond: number, seconds: number): Promise<Measured>
  /** So many in all, as many at a time as there are connections. */
  send(next: NextRequest, count: number): Promise<Measured>
  close(): Promise<void>
}

/** One in so many answers is compared whole. */
const LOOK_INTO = 64
const BEGINS = Buffer.from('{"data":{')

/** A client of one server with so many keep-alive connections, without pipelining. */
export function createClient(url: string, connections: number): Client {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, { connections, pipelining: 1, headersTimeout: 30_000 })
  return {
    async ask(request) {
      const { statusCode, body } = await pool.request(optionsOf(request))
      return { status: statusCode, text: await body.text() }
    },
    saturate(next, seconds) {
      const until = performance.now() + seconds * 1000
      return measure((run) => inLines(run, next, () => performance.now() < until))
    },
    send(next, count) {
      let left = count
      return measure((run) => inLines(run, next, () => left-- > 0))
    },
    offer: (next, rate, seconds) => measure((run) => offer(run, next, rate, seconds)),
    close: () => pool.destroy(),
  }

  async function measure(load: (run: Run) => Promise<void>): Promise<Measured> {
    const run = new Run()
    const since = performance.now()
    await load(run)
    const seconds = (performance.now() - since) / 1000
    const { latenciesMs, failures, firstFailure } = run
    return { answers: latenciesMs.length, failures, firstFailure, seconds, latenciesMs }
  }

  async function inLines(run: Run, next: NextRequest, goOn: () => boolean): Promise<void> {
    const lines = Array.from({ length: connections }, async () => {
      while (goOn()) await send(run, next(), performance.now())
    })
    await Promise.all(lines)
  }

  async function offer(run: Run, next: NextRequest, rate: number, seconds: number): Promise<void> {
    const since = performance.now()
    const all: Promise<void>[] = []
    for (const due of arrivals(rate, seconds)) {
      await until(since + due)
      all.push(send(run, next(), since + due))
    }
    await Promise.all(all)
  }

  function send(run: Run, request: LoadRequest, due: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const chunks: Buffer[] = []
    let status = 0
    pool.dispatch(optionsOf(request), {
      onRequestStart() {},
      onResponseStart(_controller, statusCode) {
        status = statusCode
      },
      onResponseData(_controller, chunk) {
        chunks.push(chunk)
      },
      onResponseEnd() {
        run.answered(request, status, chunks, due)
        resolve()
      },
      onResponseError(_controller, error) {
        run.failed(String(error))
        resolve()
      },
    })
    return promise
  }

  function optionsOf({ headers, body }: LoadRequest) {
    return { path: pathname, method: 'POST' as const, headers, body }
  }
}

/**
 * Times in milliseconds at which requests come that know nothing of each other (exponential gaps),
 * the same ones in every run.
 */
function* arrivals(ratePerSecond: number, seconds: number): Generator<number> {
  const random = createRandom(1)
  for (let at = 0; ; ) {
    at -= (Math.log(1 - random()) * 1000) / ratePerSecond
    if (at >= seconds * 1000) return
    yield at
  }
}

/** A timer rounds up to whole milliseconds; what is left goes by in turns of the loop. */
async function until(time: number): Promise<void> {
  const left = time - performance.now()
  if (left > 2) await new Promise((later) => setTimeout(later, left - 1.5))
  while (performance.now() < time) await new Promise(setImmediate)
}

/** Numbers from 0 to 1, the same sequence for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

class Run {
  readonly latenciesMs: number[] = []
  failures = 0
  firstFailure: string | undefined
  #seen = 0

  answered(request: LoadRequest, status: number, chunks: readonly Buffer[], due: number): void {
    this.latenciesMs.push(performance.now() - due)
    if (status !== 200 || !this.#isRight(request, chunks)) {
      this.failed(`${status} ${Buffer.concat(chunks).toString().slice(0, 300)}`)
    }
  }

  failed(why: string): void {
    this.failures++
    this.firstFailure ??= why
  }

  #isRight(request: LoadRequest, chunks: readonly Buffer[]): boolean {
    if (this.#seen++ % LOOK_INTO === 0) return request.isRight(Buffer.concat(chunks).toString())
    return chunks[0]?.subarray(0, BEGINS.length).equals(BEGINS) ?? false
  }
}
