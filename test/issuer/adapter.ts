import type { Adapter, AdapterFactory, AdapterPayload } from 'oidc-provider'

type Entry = { payload: AdapterPayload; expiresAt: number }

const ENTRIES_MAX = 10_000

/** What the issuer remembers, in memory: after a restart everybody signs in again. */
export function createAdapter(): AdapterFactory {
  const entries = new Map<string, Entry>()

  function live(key: string): AdapterPayload | undefined {
    const entry = entries.get(key)
    if (entry && entry.expiresAt > Date.now()) return entry.payload
    entries.delete(key)
    return undefined
  }
  function remove(matches: (payload: AdapterPayload) => boolean): void {
    for (const [key, { payload }] of entries) if (matches(payload)) entries.delete(key)
  }

  return (model: string): Adapter => {
    const keyOf = (id: string) => `${model}:${id}`
    const findBy = (name: 'uid' | 'userCode', value: string) => {
      for (const key of entries.keys()) {
        const payload = key.startsWith(`${model}:`) ? live(key) : undefined
        if (payload?.[name] === value) return payload
      }
      return undefined
    }
    return {
      async upsert(id, payload, expiresIn) {
        const expiresAt = expiresIn ? Date.now() + expiresIn * 1_000 : Number.POSITIVE_INFINITY
        entries.delete(keyOf(id))
        entries.set(keyOf(id), { payload, expiresAt })
        const [oldest] = entries.keys()
        if (entries.size > ENTRIES_MAX && oldest) entries.delete(oldest)
      },
      find: async (id) => live(keyOf(id)),
      findByUid: async (uid) => findBy('uid', uid),
      findByUserCode: async (userCode) => findBy('userCode', userCode),
      async consume(id) {
        const payload = live(keyOf(id))
        if (payload) payload.consumed = Math.floor(Date.now() / 1_000)
      },
      destroy: async (id) => void entries.delete(keyOf(id)),
      revokeByGrantId: async (grantId) => remove((payload) => payload.grantId === grantId),
    }
  }
}
