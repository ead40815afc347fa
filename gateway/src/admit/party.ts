import { isIPv6 } from 'node:net'
import { type Actor, subjectOf } from '@berth/platform/actor'

/** Whom limits are counted for: an API key, a person, or for who is neither the address. */
export function partyOf(actor: Actor, clientIp: string): string {
  return holderOf(actor) ?? `ip:${addressOf(clientIp)}`
}

/** The same, of those who say who they are; null for others. */
export function holderOf(actor: Actor): string | null {
  if (actor.kind === 'anonymous') return null
  if (actor.kind === 'api-key' && actor.credential !== undefined) return `key:${actor.credential}`
  const person = subjectOf(actor)
  return person ? `user:${person}` : null
}

/** What one party is given an address of: with IPv6, whoever has one has 2^64 of them. */
export function addressOf(ip: string): string {
  if (!ip.includes(':')) return ip
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1]
  if (mapped) return mapped
  if (!isIPv6(ip)) return ip
  const [head = '', tail] = (ip.split('%')[0] ?? '').split('::')
  const groups = head === '' ? [] : head.split(':')
  const missing =
    tail === undefined ? 0 : 8 - groups.length - tail.split(':').filter(Boolean).length
  const whole = [...groups, ...Array<string>(missing).fill('0'), ...(tail ?? '').split(':')]
  return whole
    .slice(0, 4)
    .map((it) => Number.parseInt(it || '0', 16).toString(16))
    .join(':')
}
