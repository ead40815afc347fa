import { randomUUID } from 'node:crypto'
import type { Actor } from '@berth/platform/actor'
import {
  ACTOR_HEADER,
  type AssertionSigner,
  createAssertionSigner,
} from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { loadKeys } from '@berth/platform/trusted-keys'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { GraphError } from '../../graph-client.ts'
import type { TestPlatform } from '../../scenario/test-platform.ts'
import type { Credential } from './people.ts'

export type Answer = {
  readonly data?: Record<string, unknown> | null
  readonly errors?: GraphError[]
}

type Variables = Record<string, unknown>

/** Asks the running graph, as whoever is wanted. */
export type Asker = {
  /** At the gateway. */
  http(by: Credential, query: string, variables?: Variables): Promise<Answer>
  /** At the gateway; what comes first, an event or an error, and then it is closed. */
  socket(by: Credential, query: string, variables?: Variables): Promise<Answer>
  /** At a subgraph, as the gateway would. */
  subgraph(name: string, actor: Actor, query: string, variables?: Variables): Promise<Answer>
}

export function createAsker({ platform }: Pick<TestPlatform, 'platform'>): Asker {
  const { BERTH_KEYS_DIR = '' } = platform.env('gateway')
  const { privateJwk } = loadKeys(BERTH_KEYS_DIR, 'gateway')
  const assertions: AssertionSigner = createAssertionSigner({
    issuer: 'gateway',
    privateJwk,
    clock: systemClock,
  })
  const gateway = `${platform.urls.gateway}/graphql`
  return {
    http({ token, organizationId }, query, variables) {
      return post(gateway, query, variables, {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(organizationId && { 'berth-organization': organizationId }),
        // Wanted by one mutation, and refused by those that make something to be told once.
        ...(query.includes('allocationCreate') && { 'idempotency-key': `"${randomUUID()}"` }),
      })
    },
    async subgraph(name, actor, query, variables) {
      const assertion = await assertions.sign(actor, name)
      const url = `${platform.urls[name]}/graphql`
      return post(url, query, variables, { [ACTOR_HEADER]: assertion })
    },
    socket: (by, query, variables) => firstOf(gateway, by, query, variables),
  }
}

async function post(url: string, query: string, variables: Variables = {}, headers: object) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query, variables }),
    signal: AbortSignal.timeout(30_000),
  })
  return (await response.json()) as Answer
}

async function firstOf(
  gateway: string,
  { token, organizationId }: Credential,
  query: string,
  variables: Variables = {},
): Promise<Answer> {
  const client = createClient({
    url: gateway.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(organizationId && { organizationId }),
    },
    retryAttempts: 0,
  })
  try {
    for await (const event of client.iterate({ query, variables })) return event as Answer
    throw new Error('the subscription ended without a word')
  } catch (error) {
    if (!Array.isArray(error)) throw error
    return { data: null, errors: error as GraphError[] }
  } finally {
    await client.dispose()
  }
}
