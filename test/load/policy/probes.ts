import { Agent, request as ask } from 'node:http'
import { createActor } from '@berth/platform/actor'
import { ACTOR_HEADER, createAssertionSigner } from '@berth/platform/assertion'
import { systemClock } from '@berth/platform/clock'
import { newId } from '@berth/platform/ids'
import type { Platform } from '@berth/platform/run/platform'
import { loadKeys } from '@berth/platform/trusted-keys'

/** Asks one process for a decision, from outside. */
export type Probe = { readonly name: string; decides(): Promise<boolean> }

const SUBGRAPH = 'notifications'
const RATE_LIMITED = 'RATE_LIMITED'

/**
 * Of the gateways, whether somebody new may ask twice at once; of the subgraphs, whether a viewer may
 * read their inbox. Nothing of either is remembered between two questions but the policy.
 */
export async function createProbes(platform: Platform) {
  const agent = new Agent({ keepAlive: true })
  const { privateJwk } = loadKeys(String(platform.env('gateway').BERTH_KEYS_DIR), 'gateway')
  const signer = createAssertionSigner({ issuer: 'gateway', privateJwk, clock: systemClock })
  const viewer = createActor({
    kind: 'person',
    subject: newId('usr'),
    organizationId: newId('org'),
    roles: ['viewer'],
  })
  let visitors = 0

  return {
    gateways: replicas('gateway').map((name) => ({ name, decides: () => asksTwice(name) })),
    subgraphs: replicas(SUBGRAPH).map((name) => ({ name, decides: () => readsInbox(name) })),
    close: () => agent.destroy(),
  }

  function replicas(service: string): string[] {
    return [service, `${service}-2`]
  }

  async function readsInbox(name: string): Promise<boolean> {
    const assertion = await signer.sign(viewer, SUBGRAPH)
    const code = await codeOf(name, '{ inboxCounts { unseen } }', {
      agent,
      headers: { [ACTOR_HEADER]: assertion },
    })
    if (code === null || code === 'FORBIDDEN') return code === null
    throw new Error(`${name} answered ${code}`)
  }

  /** Each time from another loopback address: rates are kept by address for whoever is not signed in. */
  async function asksTwice(name: string): Promise<boolean> {
    const n = ++visitors
    const localAddress = `127.${1 + ((n >> 16) & 63)}.${(n >> 8) & 255}.${n & 255}`
    const own = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      const codes = [
        await codeOf(name, '{ __typename }', { agent: own, localAddress }),
        await codeOf(name, '{ __typename }', { agent: own, localAddress }),
      ]
      const other = codes.find((it) => it !== null && it !== RATE_LIMITED)
      if (other !== undefined) throw new Error(`${name} answered ${other}`)
      return !codes.includes(RATE_LIMITED)
    } finally {
      own.destroy()
    }
  }

  /** Null when it was answered without an error. */
  function codeOf(
    name: string,
    query: string,
    { headers = {}, ...options }: { agent: Agent; headers?: object; localAddress?: string },
  ): Promise<string | null> {
    const { promise, resolve, reject } = Promise.withResolvers<string | null>()
    const sent = ask(`${platform.urls[name]}/graphql`, {
      ...options,
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
    })
    sent.on('error', reject)
    sent.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        try {
          const { errors } = JSON.parse(Buffer.concat(chunks).toString()) as {
            errors?: { extensions?: { code?: string } }[]
          }
          resolve(errors?.[0]?.extensions?.code ?? null)
        } catch (error) {
          reject(error as Error)
        }
      })
    })
    sent.end(JSON.stringify({ query }))
    return promise
  }
}
