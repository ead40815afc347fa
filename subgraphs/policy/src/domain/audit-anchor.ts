import { WHOLE } from './audit-chain.ts'
import { type PublicKeys, readCheckpoint } from './audit-checkpoint.ts'

/** Where a chain or a trail once stood, known from outside the database. */
export type Anchor = {
  readonly domain: string
  readonly trail: string
  readonly position: number
  readonly hash: string
}

/** The service's log has the domain, position and hash of each checkpoint under this message. */
export const CHECKPOINT_MESSAGE = 'audit checkpoint'

/**
 * The anchors in a service's log or in an export, or in both together: lines of JSON, of which all
 * others are passed over.
 *
 * @throws {Error} when a checkpoint of an export is not signed by policy
 */
export function readAnchors(text: string, keys: PublicKeys): Anchor[] {
  return text.split('\n').flatMap((line): Anchor[] => {
    const { type, statement, msg, ...logged } = objectOf(line)
    if (type === 'checkpoint') {
      const said = readCheckpoint(String(statement), keys)
      if (!said) throw new Error(`a checkpoint is not signed by policy: ${String(statement)}`)
      return [said]
    }
    if (msg !== CHECKPOINT_MESSAGE) return []
    const { domain, position, hash } = logged
    return [
      { domain: String(domain), trail: WHOLE, position: Number(position), hash: String(hash) },
    ]
  })
}

function objectOf(line: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(line)) as Record<string, unknown>
  } catch {
    return {}
  }
}
