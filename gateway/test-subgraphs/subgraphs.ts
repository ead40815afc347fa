import { setTimeout as delay } from 'node:timers/promises'
import { actorToClaims, requireOrganization, requirePerson, subjectOf } from '@berth/platform/actor'
import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import type { serviceConfig } from '@berth/platform/config'
import { createCursors } from '@berth/platform/cursor'
import { DomainError } from '@berth/platform/errors'
import { follow } from '@berth/platform/follow'
import type { HttpServer } from '@berth/platform/http'
import type { Service } from '@berth/platform/lifecycle'
import {
  channelOf,
  closeRedis,
  createHints,
  openRedis,
  revocationChannel,
} from '@berth/platform/pubsub'
import { type Concern, revocationMessage } from '@berth/platform/revocations'
import { type Resolvers, type SubgraphRequest, startSubgraph } from '@berth/platform/subgraph'
import { loadKeys } from '@berth/platform/trusted-keys'
import {
  readDeniedSigningKeys,
  readPolicies,
  readRevocations,
  refreshSigningKeys,
  resolveActor,
  resolveApiKey,
  signingKeyRefresh,
} from '@berth/schema/commands/policy'
import type { z } from 'zod'
import { allowAll, sdlOf } from './sdl.ts'

export type SubgraphName = 'allocations' | 'billing' | 'inventory' | 'notifications' | 'policy'

type Redis = ReturnType<typeof openRedis>

/** What happened to allocations, oldest first: a list in Redis, which outlives the subgraph. */
export const EVENTS = 'events'
export const hintChannel = channelOf('test', 'events')
/** Whom a subgraph was asked for: a list in Redis of `{subgraph, field, claims, idempotencyKey}`. */
export const SEEN = 'seen'

/** A person of the test policy: their roles by organization. */
export type Person = { userId: string; organizations: Record<string, string[]> }

/** Who is known to the test policy, by subject of the issuer, unless a test has changed it. */
export const PEOPLE: Record<string, Person> = {
  user: {
    userId: 'usr_01h455vb4pex5vsknk084sn02q',
    organizations: {
      org_01h455vb4pex5vsknk084sn02q: ['member'],
      org_01h455vb4pex5vsknk084sn02r: ['owner'],
    },
  },
  colleague: {
    userId: 'usr_01h455vb4pex5vsknk084sn02s',
    organizations: { org_01h455vb4pex5vsknk084sn02q: ['member'] },
  },
  operator: {
    userId: 'usr_01h455vb4pex5vsknk084sn02t',
    organizations: { org_01h455vb4pex5vsknk084sn02t: ['owner', 'platform:operator'] },
  },
}

/** Who is known otherwise: in Redis as JSON by subject, null for nobody. */
export const CHANGED_PEOPLE = 'people'
/** API keys that the test policy knows: in Redis as JSON by id. */
export const API_KEYS = 'api-keys'
export type KnownApiKey = { secretHash: string; answer: z.output<typeof resolveApiKey.output> }
/** Changes of authority, oldest first: a list in Redis, whose length is the version. */
export const REVOCATIONS = 'revocations'

/** Keys of the issuer that the test policy denies: a set in Redis. */
export const DENIED_KEYS = 'denied-keys'

/** Values that the test policy serves, in Redis as JSON by key. */
export const POLICIES = 'policies'

type Deps = {
  redis: Redis
  cursors: ReturnType<typeof createCursors>
  hints: ReturnType<typeof createHints>
}

/** A subgraph with the real contract and next to nothing behind it. */
export async function openTestSubgraph(
  scope: AsyncDisposableStack,
  { config, log, metrics }: Service<typeof serviceConfig>,
): Promise<HttpServer> {
  const name = config.BERTH_SERVICE as SubgraphName
  const keys = loadKeys(config.BERTH_KEYS_DIR, name)
  const redis = scope.adopt(openRedis(config.REDIS_URL, log), closeRedis)
  const hints = scope.adopt(createHints(redis, log), (it) => it.close())
  const deps = { redis, hints, cursors: createCursors(keys.cursorKey) }
  const typeDefs = sdlOf(name)
  return startSubgraph({
    config,
    keys,
    log,
    metrics,
    scope,
    typeDefs,
    resolvers: RESOLVERS[name](deps),
    rules: allowAll(typeDefs),
    context: (request) => ({ ...request }),
    commands: name === 'policy' ? policyCommands(deps) : [],
  })
}

const RESOLVERS: Record<SubgraphName, (deps: Deps) => Resolvers> = {
  allocations,
  billing,
  inventory,
  notifications,
  policy,
}

type Args = {
  id: string
  after?: string | null
  allocationId?: string | null
  input: { name: string }
}

function allocations({ redis, hints, cursors }: Deps): Resolvers {
  const allocation = (id: string, name = 'a') => ({
    id,
    name,
    state: 'RUNNING',
    gpuModel: { code: 'a100' },
    gpuCount: 1,
    createdBy: { id: PEOPLE.user?.userId },
    slots: [],
    createdAt: new Date(0),
  })
  return {
    Query: {
      async allocation(_root: unknown, { id }: Args, context: SubgraphRequest) {
        await see(redis, 'allocations', 'allocation', context)
        if (id === 'boom') throw new Error('secret of the database')
        if (id === 'missing') throw new DomainError('NOT_FOUND', 'No such allocation')
        if (id === 'slow') await delay(5_000, undefined, { ref: false })
        if (id === 'huge') return allocation(id, 'x'.repeat(200_000))
        return allocation(id)
      },
      allocations: () => ({
        nodes: [allocation('alc_1'), allocation('alc_2')],
        edges: [],
        pageInfo: { hasNextPage: false, hasPreviousPage: false },
      }),
    },
    Mutation: {
      async allocationCreate(_root: unknown, { input }: Args, context: SubgraphRequest) {
        await see(redis, 'allocations', 'allocationCreate', context)
        if (input.name === 'slow') await delay(5_000, undefined, { ref: false })
        return { allocation: allocation('alc_new', input.name) }
      },
    },
    Subscription: {
      allocationUpdated: {
        async subscribe(_root: unknown, { after, allocationId }: Args, context: SubgraphRequest) {
          await see(redis, 'allocations', 'allocationUpdated', context)
          const scope = { stream: 'allocations', owner: requireOrganization(context.actor) }
          if (allocationId === 'refused') throw new DomainError('FORBIDDEN', 'Not this one')
          const start = after ? cursors.decode(after, scope) : BigInt(await redis.llen(EVENTS))
          context.startsAfter(cursors.encode({ ...scope, position: start }))
          const items = follow({
            after: start,
            readAfter: async (position) => {
              const rows = await redis.lrange(EVENTS, Number(position), Number(position) + 99)
              return rows.map((id, i) => ({ id, position: position + BigInt(i) + 1n }))
            },
            hints: (onHint) => hints.subscribe(hintChannel, onHint),
            pollSeconds: 0.2,
          })
          return mapped(items, ({ id, position }) => ({
            allocationUpdated: {
              cursor: cursors.encode({ ...scope, position }),
              event: {
                id: `evt_${position}`,
                sequence: Number(position),
                state: 'RUNNING',
                at: new Date(0),
              },
              allocation: allocation(id),
            },
          }))
        },
      },
      ticks: {
        subscribe: () => mapped(hinted(hints), (number) => ({ ticks: { number } })),
      },
    },
    Allocation: {
      __resolveReference: ({ id }: { id: string }) => allocation(id),
      allowedActions: () => ['RELEASE'],
      events: () => [],
    },
  }
}

function billing({ redis }: Deps): Resolvers {
  return {
    Allocation: {
      __resolveReference: ({ id }: { id: string }) => (id === 'alc_gone' ? null : { id }),
      async cost({ id }: { id: string }, _args: unknown, context: SubgraphRequest) {
        await see(redis, 'billing', 'cost', context)
        if (id === 'alc_unpriced') throw new DomainError('NOT_FOUND', 'No price')
        // The first of several takes longest: order must come from the gateway.
        if (id.endsWith('_late')) await delay(30)
        return { amount: '1.50', currency: 'USD' }
      },
    },
    GpuModel: {
      __resolveReference: ({ code }: { code: string }) => ({ code }),
      pricePerHour: () => ({ amount: '2.00', currency: 'USD' }),
    },
    Query: { balance: () => null },
  }
}

function inventory(): Resolvers {
  const models = ['a100', 'h100']
  return {
    Query: {
      offers: () => ({
        nodes: models.map((code) => ({
          id: `ofr_${code}`,
          gpuModel: { code },
          region: { code: 'eu-1' },
          available: 4,
          largestAllocation: 4,
        })),
        edges: [],
        pageInfo: { hasNextPage: false, hasPreviousPage: false },
      }),
      gpuModels: () => models.map((code) => ({ code })),
    },
    GpuModel: {
      __resolveReference: ({ code }: { code: string }) => ({ code }),
      name: ({ code }: { code: string }) => code.toUpperCase(),
      memoryMib: () => 81_920,
    },
  }
}

function notifications({ redis, hints }: Deps): Resolvers {
  return {
    Subscription: {
      inbox: {
        async subscribe(_root: unknown, _args: unknown, context: SubgraphRequest) {
          requirePerson(context.actor)
          await see(redis, 'notifications', 'inbox', context)
          return mapped(hinted(hints), (n) => ({
            inbox: {
              cursor: String(n),
              counts: { unseen: n, unread: n, version: n },
              notification: null,
            },
          }))
        },
      },
    },
  }
}

function policy({ redis }: Deps): Resolvers {
  return {
    Query: {
      async viewer(_root: unknown, _args: unknown, context: SubgraphRequest) {
        await see(redis, 'policy', 'viewer', context)
        const { actor } = context
        if (actor.kind === 'anonymous') return null
        const organization = actor.organizationId && { id: actor.organizationId }
        const id = subjectOf(actor)
        return { user: id && { id }, organization, roles: actor.roles }
      },
    },
    User: {
      __resolveReference: ({ id }: { id: string }) => ({ id }),
      name: () => 'User',
    },
  }
}

function policyCommands({ redis, hints }: Deps): CommandHandler[] {
  return [
    handleCommand(resolveActor, async ({ subject, organizationId }) => {
      await redis.incr('actors.resolve')
      const changed = await redis.hget(CHANGED_PEOPLE, subject)
      const person = changed ? (JSON.parse(changed) as Person | null) : PEOPLE[subject]
      if (!person) throw new DomainError('NOT_FOUND', 'Nobody')
      const chosen = organizationId ?? Object.keys(person.organizations)[0] ?? ''
      const roles = person.organizations[chosen]
      if (!roles) throw new DomainError('FORBIDDEN', 'Not a member')
      return {
        userId: person.userId as `usr_${string}`,
        organizationId: chosen as `org_${string}`,
        roles,
      }
    }),
    handleCommand(resolveApiKey, async ({ keyId, secretHash }) => {
      await redis.incr('apiKeys.resolve')
      const text = await redis.hget(API_KEYS, keyId)
      const known = text ? (JSON.parse(text) as KnownApiKey) : null
      if (known?.secretHash !== secretHash) throw new DomainError('NOT_FOUND', 'no such API key')
      return known.answer
    }),
    handleCommand(readRevocations, async ({ after, limit }) => {
      const latest = await redis.llen(REVOCATIONS)
      if (after === null) return { version: latest, concerns: [], isComplete: true }
      if (after > latest) return { version: latest, concerns: [], isComplete: false }
      const texts = await redis.lrange(REVOCATIONS, after, after + limit - 1)
      const concerns = texts.map((text) => JSON.parse(text) as Concern)
      return { version: after + concerns.length, concerns, isComplete: true }
    }),
    handleCommand(readDeniedSigningKeys, async () => ({
      keyIds: await redis.smembers(DENIED_KEYS),
    })),
    handleCommand(refreshSigningKeys, async ({ refreshId }) => {
      const concern: Concern = { kind: 'signing-key', id: signingKeyRefresh(refreshId) }
      const version = await redis.rpush(REVOCATIONS, JSON.stringify(concern))
      const message = revocationMessage({ after: version - 1, version, concerns: [concern] })
      await hints.publish(revocationChannel(), message)
      return {}
    }),
    handleCommand(readPolicies, async ({ keys }) => {
      const values = await redis.hmget(POLICIES, ...keys)
      return {
        values: keys.flatMap((key, i) => {
          const text = values[i]
          return text ? [{ key, version: 1, value: JSON.parse(text) }] : []
        }),
      }
    }),
  ]
}

async function see(redis: Redis, subgraph: string, field: string, context: SubgraphRequest) {
  const { actor, idempotencyKey, requestId, traceparent } = context
  const claims = actorToClaims(actor)
  await redis.rpush(
    SEEN,
    JSON.stringify({ subgraph, field, claims, idempotencyKey, requestId, traceparent }),
  )
}

/** Numbers that are published while it listens, and no others. */
function hinted(hints: Deps['hints']): AsyncIterableIterator<number> {
  const waiting: number[] = []
  let wake: (() => void) | undefined
  let isEnded = false
  const dispose = hints.subscribe(hintChannel, (text) => {
    if (text === null || !/^\d+$/.test(text)) return
    waiting.push(Number(text))
    wake?.()
  })
  return {
    async next() {
      while (!isEnded && waiting.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return isEnded
        ? { done: true, value: undefined }
        : { done: false, value: waiting.shift() ?? 0 }
    },
    async return() {
      isEnded = true
      dispose()
      wake?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

function mapped<A, B>(
  items: AsyncIterableIterator<A>,
  of: (item: A) => B,
): AsyncIterableIterator<B> {
  return {
    async next() {
      const { done, value } = await items.next()
      return done ? { done: true, value: undefined } : { done: false, value: of(value) }
    },
    async return() {
      await items.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
