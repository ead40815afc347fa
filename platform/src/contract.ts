import { z } from 'zod'
import type { Id } from './ids.ts'

/** What another service can be asked now, over HTTP, idempotent by its command id. */
export type CommandContract<I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType> = {
  readonly kind: 'command'
  /** `<thing>.<verb>`, unique over all services. */
  readonly name: string
  /** The service that answers. */
  readonly owner: string
  /** The services that may ask. */
  readonly callers: readonly string[]
  readonly input: I
  readonly output: O
}

/** What a domain publishes. */
export type EventContract<D extends z.ZodType = z.ZodType> = {
  readonly kind: 'event'
  readonly domain: string
  readonly aggregate: string
  readonly verb: string
  readonly version: number
  /** `<domain>.<aggregate>.<verb>` */
  readonly type: string
  /** `berth.<domain>.<aggregate>.<verb>.v<version>` */
  readonly subject: string
  readonly data: D
}

const NAME = /^[a-z][A-Za-z0-9-]*$/
const COMMAND_NAME = /^[a-z][A-Za-z0-9-]*(\.[a-z][A-Za-z0-9-]*)+$/

/** @throws {TypeError} when a name is malformed or nobody may call it. */
export function command<I extends z.ZodType, O extends z.ZodType>(
  contract: Omit<CommandContract<I, O>, 'kind'>,
): CommandContract<I, O> {
  if (!COMMAND_NAME.test(contract.name)) throw new TypeError(`command name ${contract.name}`)
  if (contract.callers.length === 0) throw new TypeError(`${contract.name} has no caller`)
  return Object.freeze({ kind: 'command', ...contract })
}

/** @throws {TypeError} when a name is malformed. */
export function event<D extends z.ZodType>(
  contract: Pick<EventContract<D>, 'domain' | 'aggregate' | 'verb' | 'version' | 'data'>,
): EventContract<D> {
  const { domain, aggregate, verb, version } = contract
  if (![domain, aggregate, verb].every((it) => NAME.test(it)) || !(version >= 1)) {
    throw new TypeError(`event name ${domain}.${aggregate}.${verb}.v${version}`)
  }
  const type = `${domain}.${aggregate}.${verb}`
  return Object.freeze({ kind: 'event', ...contract, type, subject: `berth.${type}.v${version}` })
}

/** What every event travels in. Ids are bare uuids: the bus and the outbox know no prefixes. */
export const Envelope = z.strictObject({
  id: z.uuid(),
  type: z.string().max(200),
  version: z.int().positive(),
  aggregate: z.string().max(64),
  aggregateId: z.uuid(),
  /** Gapless per aggregate, given under the aggregate's row lock. */
  aggregateSeq: z.int().positive(),
  organizationId: z.uuid().nullable(),
  occurredAt: z.iso.datetime(),
  causationId: z.string().max(128).nullable(),
  correlationId: z.string().max(128).nullable(),
  traceparent: z.string().max(64).nullable(),
  data: z.record(z.string(), z.unknown()),
})
export type Envelope = z.output<typeof Envelope>

/** An envelope whose data has been decoded by its contract. */
export type EventOf<C extends EventContract> = Omit<Envelope, 'data'> & {
  data: z.output<C['data']>
}

/** The id of one kind of thing, in a contract. */
export function idOf<P extends string>(prefix: P): z.ZodType<Id<P>, Id<P>> {
  const pattern = new RegExp(`^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`)
  return z.string().regex(pattern) as unknown as z.ZodType<Id<P>, Id<P>>
}

const FORBIDDEN =
  /^(secrets?|tokens?|password|passphrase|credentials?|cookie|authorization|private|e?mail|emails|names?|username|hostname|phones?|ips?|address(es)?|birthday)$/

/**
 * Why a contract is not closed, one line each; none when it is. An event's data is read by
 * everyone for ever: closed objects of ids and small facts, under no name that tells of a secret
 * or a person. A command's input is read by its owner alone: it must be closed, and no more.
 */
export function closedSchemaProblems(contract: EventContract | CommandContract): string[] {
  if (contract.kind === 'event') return problemsOf(contract.subject, contract.data, true)
  return problemsOf(`${contract.name} input`, contract.input, false)
}

type JsonSchema = {
  type?: string
  properties?: Record<string, JsonSchema>
  additionalProperties?: boolean | JsonSchema
  propertyNames?: JsonSchema
  items?: JsonSchema | boolean
  prefixItems?: JsonSchema[]
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  allOf?: JsonSchema[]
  enum?: unknown[]
  const?: unknown
  format?: string
  pattern?: string
  maxLength?: number
  $ref?: string
  $defs?: Record<string, JsonSchema>
}

function problemsOf(where: string, schema: z.ZodType, isPublished: boolean): string[] {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
  const problems: string[] = []
  if (json.type !== 'object' && !json.anyOf && !json.oneOf) {
    problems.push(`${where}: must be an object`)
  }
  visit(json, where)
  for (const [name, it] of Object.entries(json.$defs ?? {})) visit(it, `${where} ${name}`)
  return problems

  function visit(it: JsonSchema, at: string): void {
    const branches = [...(it.anyOf ?? []), ...(it.oneOf ?? []), ...(it.allOf ?? [])]
    for (const branch of branches) visit(branch, at)
    if (branches.length > 0 || it.$ref || it.enum || it.const !== undefined) return
    if (it.type === undefined) problems.push(`${at}: accepts anything`)
    if (it.type === 'object') visitObject(it, at)
    if (it.type === 'array') {
      const items = [...(it.prefixItems ?? []), ...(typeof it.items === 'object' ? [it.items] : [])]
      if (items.length === 0) problems.push(`${at}: accepts any items`)
      for (const item of items) visit(item, `${at}[]`)
    }
    const isBounded = it.format ?? it.pattern ?? it.maxLength
    if (isPublished && it.type === 'string' && isBounded === undefined) {
      problems.push(`${at}: a string without a form or a maximum length is free text`)
    }
  }

  function visitObject(it: JsonSchema, at: string): void {
    if (it.additionalProperties !== false) problems.push(`${at}: accepts unknown fields`)
    for (const [name, property] of Object.entries(it.properties ?? {})) {
      const words = name.split(/(?=[A-Z])|[_-]/).map((word) => word.toLowerCase())
      if (isPublished && words.some((word) => FORBIDDEN.test(word))) {
        problems.push(`${at}.${name}: a name for a secret or a person’s data`)
      }
      visit(property, `${at}.${name}`)
    }
  }
}
