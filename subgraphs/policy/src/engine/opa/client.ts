import { DomainError } from '@berth/platform/errors'

/**
 * A server of OPA's, by its REST API. Whatever is not the answer that was asked for is an error: a
 * DomainError UNAVAILABLE when there was none at all.
 */
export type OpaClient = {
  /** @returns the errors that it was refused for; none when it holds from now on */
  putPolicy(id: string, text: string): Promise<readonly OpaProblem[]>
  /** @returns the compiled module, as OPA's JSON of it */
  compiled(id: string): Promise<unknown>
  deletePolicy(id: string): Promise<void>
  /** @param path the names from `data` down to the rule; undefined when it has no value */
  ask(path: readonly string[], input: unknown): Promise<unknown>
}

export type OpaProblem = {
  readonly message: string
  readonly row?: number
  readonly column?: number
}

/** Far more than an answer to a question takes, or a module of the longest rules. */
const MAX_ANSWER = 4_000_000
/** Of a proxy before it. */
const AWAY = new Set([502, 503, 504])

/** @param timeoutMs of each request: OPA gives up an evaluation that nobody waits for */
export function createOpaClient({ url, timeoutMs }: { url: string; timeoutMs: number }): OpaClient {
  return {
    async putPolicy(id, text) {
      const { status, body } = await request('PUT', ['policies', id], text, 'text/plain')
      if (status === 200) return []
      if (status === 400 && isObject(body)) return problemsOf(body)
      throw new Error(`OPA answered a policy with ${status}`)
    },

    async compiled(id) {
      const { status, body } = await request('GET', ['policies', id])
      if (status !== 200 || !isObject(body) || !isObject(body.result)) {
        throw new Error(`OPA answered with ${status}, and no module`)
      }
      return body.result.ast
    },

    async deletePolicy(id) {
      await request('DELETE', ['policies', id])
    },

    async ask(path, input) {
      const json = JSON.stringify({ input })
      // What a built-in function fails at is an error, and not just nothing.
      const strict = '?strict-builtin-errors=true'
      const { status, body } = await request('POST', ['data', ...path], json, undefined, strict)
      if (status !== 200 || !isObject(body)) throw new Error(`OPA answered with ${status}`)
      return body.result
    },
  }

  async function request(
    method: string,
    path: readonly string[],
    content?: string,
    type = 'application/json',
    query = '',
  ): Promise<{ status: number; body: unknown }> {
    const target = `${url.replace(/\/$/, '')}/v1/${path.map(encodeURIComponent).join('/')}${query}`
    const response = await fetch(target, {
      method,
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
      ...(content === undefined ? {} : { body: content, headers: { 'content-type': type } }),
    }).catch(unavailable)
    if (AWAY.has(response.status)) unavailable(new TypeError(`status ${response.status}`))
    return { status: response.status, body: JSON.parse(await textOf(response)) }
  }
}

/** @throws what it is given, or UNAVAILABLE when nobody was there to answer */
function unavailable(cause: unknown): never {
  if (!(cause instanceof TypeError)) throw cause
  throw new DomainError('UNAVAILABLE', 'The policy engine cannot be asked now', { cause })
}

async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const part of response.body ?? []) {
    text += decoder.decode(part as Uint8Array, { stream: true })
    if (text.length > MAX_ANSWER) throw new Error('OPA’s answer is too long')
  }
  return text + decoder.decode()
}

function problemsOf(body: Record<string, unknown>): OpaProblem[] {
  const list = Array.isArray(body.errors) ? body.errors.filter(isObject) : []
  if (list.length === 0) return [{ message: String(body.message) }]
  return list.map(({ message, location }) => {
    const { row, col } = isObject(location) ? location : {}
    return {
      message: String(message),
      ...(typeof row === 'number' && typeof col === 'number' ? { row, column: col } : {}),
    }
  })
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
