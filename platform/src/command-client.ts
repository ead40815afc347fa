import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { type Actor, actorToClaims } from './actor.ts'
import { type Clock, systemClock } from './clock.ts'
import { bodyHash, COMMAND_ID, COMMAND_PATH, COMMAND_TYP, codeOf } from './command-wire.ts'
import type { CommandContract } from './contract.ts'
import { DomainError, type ErrorCode, isErrorCode } from './errors.ts'
import type { Metrics } from './metrics.ts'
import type { Peers } from './peers.ts'
import { currentRequest } from './request-scope.ts'
import { createServiceJwtSigner } from './service-jwt.ts'
import type { PrivateJwk } from './trusted-keys.ts'

const TOKEN_SECONDS = 30
const DEFAULT_TIMEOUT_MS = 5_000
const RETRY_DELAYS_MS = [50, 200, 500]

export type CallOptions = {
  /** For whom; the calling service itself when absent. */
  actor?: Actor
  /** Printable ASCII, at most 128: derive it from the cause, so that a retry is the same command. */
  commandId: string
  timeoutMs?: number
  /** The one that is worked for, unless said. */
  requestId?: string | undefined
  traceparent?: string | null | undefined
}

export type CommandClient = {
  /**
   * @throws {DomainError} with the owner's code; UPSTREAM_UNAVAILABLE when it cannot be reached,
   * TIMEOUT when it does not answer in time, and then the outcome is unknown: call again with the
   * same command id
   */
  call<I extends z.ZodType, O extends z.ZodType>(
    contract: CommandContract<I, O>,
    input: z.output<I>,
    options: CallOptions,
  ): Promise<z.output<O>>
}

/** Asks other services. Retries what was not answered, or answered 503, over their replicas. */
export function createCommandClient({
  service,
  privateJwk,
  peers,
  metrics,
  clock = systemClock,
}: {
  service: string
  privateJwk: PrivateJwk
  peers: Peers
  metrics: Metrics
  clock?: Clock
}): CommandClient {
  const sign = createServiceJwtSigner({ issuer: service, privateJwk, clock })
  const calls = metrics.counter('berth_commands_called_total', 'Commands by name and code', [
    'name',
    'code',
  ])
  return {
    async call(contract, input, options) {
      try {
        const output = await callWithRetries(contract, input, options)
        calls.inc({ name: contract.name, code: 'OK' })
        return output
      } catch (error) {
        calls.inc({ name: contract.name, code: codeOf(error) })
        throw error
      }
    },
  }

  async function callWithRetries<I extends z.ZodType, O extends z.ZodType>(
    contract: CommandContract<I, O>,
    input: z.output<I>,
    options: CallOptions,
  ): Promise<z.output<O>> {
    if (!COMMAND_ID.test(options.commandId)) throw new TypeError('command id')
    const body = JSON.stringify(z.encode(contract.input, input))
    const signal = AbortSignal.timeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS)
    for (let attempt = 0; ; attempt++) {
      try {
        return z.decode(
          contract.output,
          (await send(contract, body, options, signal)) as z.input<O>,
        )
      } catch (error) {
        const delayMs = RETRY_DELAYS_MS[attempt]
        if (delayMs === undefined || !isUnanswered(error) || signal.aborted) throw error
        await delay(delayMs, undefined, { signal }).catch(() => {
          throw error
        })
      }
    }
  }

  async function send(
    contract: CommandContract,
    body: string,
    { commandId, actor, requestId = currentRequest()?.requestId, traceparent }: CallOptions,
    signal: AbortSignal,
  ): Promise<unknown> {
    const claims = {
      cmd: contract.name,
      jti: commandId,
      bh: bodyHash(body),
      ...(actor ? { act: actorToClaims(actor) } : {}),
    }
    const token = await sign(COMMAND_TYP, contract.owner, claims, TOKEN_SECONDS)
    const response = await peers.pool(contract.owner).request({
      method: 'POST',
      path: `${COMMAND_PATH}${contract.name}`,
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${token}`,
        ...(requestId ? { 'x-request-id': requestId } : {}),
        ...(traceparent ? { traceparent } : {}),
      },
      body,
      signal,
      idempotent: true,
    })
    const answer = await response.body.text().catch((cause: unknown) => {
      if (signal.aborted)
        throw new DomainError('TIMEOUT', `${contract.name} took too long`, { cause })
      throw new DomainError('UPSTREAM_UNAVAILABLE', `${contract.name} broke off`, { cause })
    })
    return outputOf(contract, response.statusCode, answer)
  }
}

const ErrorBody = z.object({
  error: z.looseObject({ code: z.custom<ErrorCode>(isErrorCode), message: z.string() }),
})

function outputOf(contract: CommandContract, status: number, answer: string): unknown {
  const json: unknown = parseAnswer(answer)
  if (status === 200 && json && typeof json === 'object' && 'output' in json) return json.output
  const parsed = ErrorBody.safeParse(json)
  if (!parsed.success) {
    throw new DomainError(
      'UPSTREAM_UNAVAILABLE',
      `${contract.owner} answered with status ${status}`,
    )
  }
  const { code, message, requestId: _id, retryable: _retryable, ...fields } = parsed.data.error
  throw new DomainError(code, message, fields)
}

function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isUnanswered(error: unknown): boolean {
  return (
    error instanceof DomainError &&
    (error.code === 'UPSTREAM_UNAVAILABLE' || error.code === 'UNAVAILABLE')
  )
}
