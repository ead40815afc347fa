import { type ActorFields, createActor } from '../actor.ts'
import { fakeClock } from '../clock.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { createPolicyClient, type PolicySource } from '../policy-client.ts'
import type { Concern } from '../revocations.ts'

export const org = newId('org')
export const like = (fields: Partial<ActorFields> = {}) =>
  createActor({
    kind: 'person',
    subject: newId('usr'),
    organizationId: org,
    roles: ['member'],
    ...fields,
  })
export const person = like()
const log = createLog({ service: 's', instance: 's-1', level: 'silent' })

/** A policy client in the middle: its policy before it, its feed and its figures beside it. */
export function policyRig() {
  const clock = fakeClock()
  const metrics = createMetrics({ service: 's' })
  const policy = {
    granted: { member: ['allocation:read', 'billing:read', 'sshkey:manage'] } as Record<
      string,
      string[]
    >,
    dependent: [] as string[],
    values: {} as Record<string, unknown>,
    reads: [] as unknown[],
    isDown: false,
    /** What is read waits for this, with what was true when it was asked. */
    held: Promise.resolve() as Promise<unknown>,
  }
  async function answer<T>(asked: unknown, value: T): Promise<T> {
    policy.reads.push(asked)
    if (policy.isDown) throw new DomainError('UPSTREAM_UNAVAILABLE', 'policy does not answer')
    const then = structuredClone(value)
    await policy.held
    return then
  }
  const source: PolicySource = {
    values: (input) =>
      answer(input, {
        values: input.keys
          .filter((key) => Object.hasOwn(policy.values, key))
          .map((key) => ({ key, value: policy.values[key] })),
      }),
    grants: (input) =>
      answer(input, {
        granted: input.roles.flatMap((role) => policy.granted[role] ?? []),
        dependent: policy.dependent,
      }),
    decide: ({ facts, ...input }) =>
      answer({ ...input, facts }, { isGranted: facts.some(({ value }) => value === 1) }),
  }
  const listeners = new Set<(concern: Concern) => void>()
  const feed = {
    completeAt: clock.now().getTime(),
    subscribe(listener: (concern: Concern) => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
  const client = createPolicyClient({ source, revocations: feed, log, metrics, clock })
  return {
    client,
    policy,
    feed,
    listeners,
    tell: (kind: Concern['kind'], id: string) => {
      for (const listener of listeners) listener({ kind, id })
    },
    /** Time passes; the feed is heard of, or is not. */
    pass(seconds: number, { isHeard = true } = {}) {
      clock.advance(seconds)
      if (isHeard) feed.completeAt = clock.now().getTime()
    },
    async metric(name: string) {
      const text = await metrics.registry.getSingleMetricAsString(name)
      return Object.fromEntries(
        text
          .split('\n')
          .filter((line) => line.startsWith(name))
          .map((line) => [/of="(\w+)"/.exec(line)?.[1] ?? '', Number(line.split(' ').at(-1))]),
      )
    },
  }
}
