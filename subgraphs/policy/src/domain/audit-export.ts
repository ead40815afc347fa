import { createHash } from 'node:crypto'
import type { AuditFields, Entry } from './audit-chain.ts'
import type { Break } from './audit-check.ts'
import { type PublicKeys, readCheckpoint } from './audit-checkpoint.ts'
import { canonicalJson, type Json } from './canonical-json.ts'

// A line each, as JSON: what somebody needs to check their trail with nothing but a public key.

/** `hash` is SHA-256 of the canonical JSON of `entry`; `entry.previous` the hash of the one before. */
type EntryLine = {
  readonly type: 'entry'
  readonly hash: string
  readonly entry: {
    readonly v: 1
    readonly domain: string
    readonly trail: string
    readonly position: number
    readonly previous: string | null
  } & AuditFields
}

/** A compact JWS of policy's: what the hash was at that position. */
type CheckpointLine = { readonly type: 'checkpoint'; readonly statement: string }

export function entryLine(
  { domain, trail, trailPosition: position, fields, entryHash: hash }: Entry,
  previous: string | null,
): string {
  const entry = { v: 1, domain, trail, position, previous, ...fields } as const
  return `${canonicalJson({ type: 'entry', hash, entry } satisfies EntryLine)}\n`
}

export function checkpointLine(statement: string): string {
  return `${canonicalJson({ type: 'checkpoint', statement } satisfies CheckpointLine)}\n`
}

export type ExportCheck = {
  readonly entries: number
  readonly checkpoints: number
  readonly breaks: readonly Break[]
}

/** Checks a whole export: every entry, that none is missing between them, and what was signed. */
export function checkExport(ndjson: string, keys: PublicKeys): ExportCheck {
  const breaks: Break[] = []
  const trails = new Map<string, Trail>()
  let entries = 0
  let checkpoints = 0
  for (const [index, text] of ndjson.split('\n').entries()) {
    if (text === '') continue
    const line = lineOf(text)
    if (line?.type === 'entry') {
      entries += 1
      breaks.push(...checkEntry(line, trails))
    } else if (line?.type === 'checkpoint') {
      checkpoints += 1
      breaks.push(...checkCheckpoint(line, keys, trails))
    } else {
      breaks.push({
        domain: '',
        trail: '',
        position: index + 1,
        what: `line ${index + 1} is broken`,
      })
    }
  }
  for (const { domain, trail, position, signed } of trails.values()) {
    if (signed < position) {
      breaks.push({ domain, trail, position, what: `what follows ${signed} is not signed` })
    }
  }
  return { entries, checkpoints, breaks }
}

type Trail = {
  readonly domain: string
  readonly trail: string
  readonly position: number
  readonly hash: string
  /** Up to where a checkpoint covers it. */
  readonly signed: number
  /** Hashes that a checkpoint may still name. */
  readonly unsigned: Map<number, string>
}

function checkEntry({ hash, entry }: EntryLine, trails: Map<string, Trail>): Break[] {
  const { domain, trail, position, previous } = entry
  const at = { domain, trail, position }
  const key = `${domain} ${trail}`
  const before = trails.get(key)
  const breaks: Break[] = []
  if (sha256(entry as unknown as Json) !== hash) {
    breaks.push({ ...at, what: `entry ${entry.id} was changed` })
  }
  if (before && position !== before.position + 1) {
    breaks.push({ ...at, what: `${before.position + 1} to ${position - 1} are missing or moved` })
  } else if (before ? previous !== before.hash : (previous === null) !== (position === 1)) {
    breaks.push({
      ...at,
      what: `entry ${entry.id} is not the one that came after the one before it`,
    })
  }
  const unsigned = before?.unsigned ?? new Map<number, string>()
  unsigned.set(position, hash)
  trails.set(key, { ...at, hash, signed: before?.signed ?? 0, unsigned })
  return breaks
}

function checkCheckpoint(
  { statement }: CheckpointLine,
  keys: PublicKeys,
  trails: Map<string, Trail>,
): Break[] {
  const said = readCheckpoint(statement, keys)
  if (!said) return [{ domain: '', trail: '', position: 0, what: 'a checkpoint is not signed' }]
  const { domain, trail, position, hash } = said
  const key = `${domain} ${trail}`
  const found = trails.get(key)
  if (found?.unsigned.get(position) !== hash) {
    return [{ domain, trail, position, what: `entries up to ${position} are not those signed` }]
  }
  for (const known of found.unsigned.keys()) if (known <= position) found.unsigned.delete(known)
  trails.set(key, { ...found, signed: Math.max(found.signed, position) })
  return []
}

function lineOf(text: string): EntryLine | CheckpointLine | null {
  try {
    return JSON.parse(text) as EntryLine | CheckpointLine
  } catch {
    return null
  }
}

function sha256(value: Json): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}
