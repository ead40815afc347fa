import type { SqlDatabase } from '@berth/platform/database'
import { uuidToId } from '@berth/platform/ids'
import { policyConcern } from '@berth/platform/pubsub'
import type { Concern, RevocationPage } from '@berth/platform/revocations'
import * as store from '../store/revocations.ts'

export type Revocations = {
  /** Answers `revocations.read`. */
  read(input: { after: number | null; limit: number }): Promise<RevocationPage>
}

export function createRevocations({ sql }: Pick<SqlDatabase, 'sql'>): Revocations {
  return {
    async read({ after, limit }) {
      const { latest, revocations } = await store.readRevocations(sql, after, limit)
      const concerns = revocations.map(concernOf)
      const version = Number(revocations.at(-1)?.version ?? latest)
      const isComplete = after === null || version - after === concerns.length
      return isComplete
        ? { version, concerns, isComplete }
        : { version: Number(latest), concerns: [], isComplete }
    },
  }
}

function concernOf({ kind, subject }: store.Revocation): Concern {
  switch (kind) {
    case 'person':
      return { kind, id: uuidToId('usr', subject) }
    case 'organization':
      return { kind, id: uuidToId('org', subject) }
    case 'credential':
      return { kind, id: credentialOf(subject) }
    case 'policy':
      return { kind, id: policyOf(subject) }
    default:
      return { kind: kind as Concern['kind'], id: subject }
  }
}

/** Triggers write `<key>@<uuid>` of what holds in an organization. */
function policyOf(subject: string): string {
  const [key = '', uuid] = subject.split('@')
  return policyConcern(key, uuid && uuidToId('org', uuid))
}

/** Triggers write `<prefix>:<uuid>`, since base32 is nothing that Postgres speaks. */
function credentialOf(subject: string): string {
  const [, prefix, uuid] = /^([a-z]{3}):([0-9a-f-]{36})$/.exec(subject) ?? []
  return prefix && uuid ? uuidToId(prefix, uuid) : subject
}
