import type { JSONWebKeySet } from 'jose'
import { z } from 'zod'
import { type Actor, actorFromClaims, serviceActor } from './actor.ts'
import { type Clock, systemClock } from './clock.ts'
import { bodyHash, COMMAND_ID, COMMAND_PATH, COMMAND_TYP, codeOf } from './command-wire.ts'
import type { CommandContract } from './contract.ts'
import { DomainError } from './errors.ts'
import type { HttpHandler, HttpRequest, Routes } from './http.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import { withinRequest } from './request-scope.ts'
import { createServiceJwtVerifier, TokenRefused } from './service-jwt.ts'

export {
  type CallOptions,
  type CommandClient,
  createCommandClient,
} from './command-client.ts'

export type CommandContext = {
  /** For whom the caller acts; the calling service itself when it named nobody. */
  readonly actor: Actor
  /** The same for every attempt at one command: for a handler whose input alone does not tell a repetition. */
  readonly commandId: string
  /** Name of the calling service. */
  readonly caller: string
  readonly requestId: string
  readonly traceparent: string | null
  readonly log: Log
}

export type CommandHandler = {
  readonly contract: CommandContract
  run(input: unknown, context: CommandContext): Promise<unknown>
}

/** Binds a command to what carries it out; input and output are decoded and checked by the contract. */
export function handleCommand<I extends z.ZodType, O extends z.ZodType>(
  contract: CommandContract<I, O>,
  handler: (input: z.output<I>, context: CommandContext) => Promise<z.output<O>>,
): CommandHandler {
  return {
    contract,
    async run(input, context) {
      const decoded = z.safeDecode(contract.input, input as z.input<I>)
      if (!decoded.success) {
        throw new DomainError('BAD_INPUT', `${contract.name}: ${z.prettifyError(decoded.error)}`)
      }
      return z.encode(contract.output, await handler(decoded.data, context))
    },
  }
}

/**
 * The route `POST /internal/commands/<name>` of one service. A call is taken from a service that
 * the contract lists, whose signature covers the command, its id, its actor and its body.
 */
export function createCommandPort({
  service,
  handlers,
  jwks,
  metrics,
  clock = systemClock,
}: {
  service: string
  handlers: readonly CommandHandler[]
  jwks: JSONWebKeySet
  metrics: Metrics
  clock?: Clock
}): Routes {
  for (const { contract } of handlers) {
    if (contract.owner !== service) throw new TypeError(`${contract.name} is not ${service}'s`)
  }
  const byName = new Map(handlers.map((handler) => [handler.contract.name, handler]))
  if (byName.size !== handlers.length) throw new TypeError('a command has two handlers')
  const verify = createServiceJwtVerifier({ typ: COMMAND_TYP, audience: service, jwks, clock })
  const calls = metrics.counter('berth_commands_handled_total', 'Commands by name and code', [
    'name',
    'code',
  ])

  const handle: HttpHandler = async (request, reply) => {
    const handler = byName.get(request.path.slice(COMMAND_PATH.length))
    const name = handler?.contract.name ?? 'unknown'
    try {
      const output = await run(handler, request)
      calls.inc({ name, code: 'OK' })
      reply.json(200, { output })
    } catch (error) {
      calls.inc({ name, code: codeOf(error) })
      throw error
    }
  }
  return { [`POST ${COMMAND_PATH}*`]: handle }

  async function run(handler: CommandHandler | undefined, request: HttpRequest): Promise<unknown> {
    const body = await request.body()
    const { caller, commandId, actor } = await authenticate(request, body)
    if (!handler) throw new DomainError('NOT_FOUND', 'There is no such command')
    const { name, callers } = handler.contract
    if (!callers.includes(caller)) {
      throw new DomainError('FORBIDDEN', `The service ${caller} may not ask for ${name}`)
    }
    const { requestId, traceparent } = request
    const log = request.log.child({ command: name, commandId, caller })
    const context = { actor, commandId, caller, requestId, traceparent, log }
    return withinRequest({ requestId, origin: `command:${caller}` }, () =>
      handler.run(parseJson(body), context),
    )
  }

  async function authenticate(request: HttpRequest, body: Buffer) {
    try {
      const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1]
      const { iss, cmd, jti, bh, act } = await verify(token)
      if (cmd !== request.path.slice(COMMAND_PATH.length) || bh !== bodyHash(body)) {
        throw new TokenRefused('claims')
      }
      if (typeof jti !== 'string' || !COMMAND_ID.test(jti)) throw new TokenRefused('claims')
      const actor = act === undefined ? serviceActor(iss) : actorFromClaims(act)
      return { caller: iss, commandId: jti, actor }
    } catch (error) {
      const reason = error instanceof TokenRefused ? error.reason : 'claims'
      request.log.warn({ reason }, 'command refused')
      throw new DomainError('UNAUTHENTICATED', 'The command’s signature is missing or not valid', {
        cause: error,
      })
    }
  }
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    throw new DomainError('BAD_INPUT', 'The body is not JSON')
  }
}
