import { isAscii, isUtf8 } from 'node:buffer'
import type { FetchNode, PlanNode } from '@apollo/query-planner'
import { GraphQLList, GraphQLNonNull, type GraphQLSchema } from 'graphql'
import { type Answer, BytesAnswer, decoded, type Take } from '../answers.ts'
import { type Attached, attachedIn } from './attached.ts'
import { type Fetch, fetchOf, type Scope } from './fetch.ts'
import { type Cutting, cuttingIn, type Piece } from './pieces.ts'
import { NotCut } from './plain.ts'
import type { Run } from './run.ts'
import { isEnd, matches, type Scan, scanOf, WRONG } from './scan.ts'
import type { Selected } from './selections.ts'
import { compileSites, type Seat, type Sites, type Taken } from './sites.ts'

/**
 * Runs a query without parsing what subgraphs answer: their texts are read once, checked, and cut and
 * put together. Null as soon as one of them is not exactly as it would be written here, be it an
 * error, a null that must not be, or a space. What was asked is then in `run.heard`, answered or not
 * yet: whoever runs the query the ordinary way asks none of it again. It rejects for a bug alone.
 */
export type Splice = (run: Run) => Promise<Answer | null>

/** Null for operations and plans for which that cannot be done. */
export function compileSplice(
  scope: Scope,
  node: PlanNode,
  { selected, supergraph }: { selected: Selected; supergraph: GraphQLSchema },
): Splice | null {
  try {
    const attached = new Map<FetchNode, Attached>()
    for (const it of attachedIn(scope, node, [])) {
      if (attached.has(it.node)) throw new NotCut()
      attached.set(it.node, it)
    }
    const sites = compileSites(selected, supergraph, [...attached.values()])
    const step = stepOf(node, (it) => {
      const of = attached.get(it) as Attached
      const seat = sites.seats.get(of) as Seat
      const fetch = fetchOf(scope, it)
      return it.requires ? entityStep(fetch, of, seat) : rootStep(fetch, seat)
    })
    return splicing(sites, step)
  } catch (error) {
    if (error instanceof NotCut) return null
    throw error
  }
}

function splicing({ count, rootLength, write }: Sites, step: Step): Splice {
  return (run) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer | null>()
    const attempt = new Attempt(run, { sites: count, rootLength, onOver: () => resolve(null) })
    answered(attempt).then(resolve, reject)
    return promise
  }

  async function answered(attempt: Attempt): Promise<Answer | null> {
    const pending = step(attempt)
    if (pending) await pending
    return attempt.isOver ? null : new BytesAnswer(write(attempt.root), attempt.isAscii)
  }
}

/** One run of one operation. */
class Attempt {
  readonly run: Run
  readonly root: Piece
  readonly pieces: Piece[][] = []
  /** It came to nothing: nothing more is asked or taken. */
  isOver = false
  /** No byte so far was more than ASCII. */
  isAscii = true
  readonly #onOver: () => void

  constructor(
    run: Run,
    { sites, rootLength, onOver }: { sites: number; rootLength: number; onOver: () => void },
  ) {
    this.run = run
    this.root = new Array<unknown>(rootLength)
    for (let i = 0; i < sites; i++) this.pieces.push([])
    this.#onOver = onOver
  }

  giveUp(): void {
    this.isOver = true
    this.#onOver()
  }

  /** @returns what the scan found of an answer's data; undefined when it is not for us */
  scan(bytes: Buffer, { before, scan, after }: Expected): unknown {
    const isAsciiToo = isAscii(bytes)
    if (!matches(bytes, 0, before) || !(isAsciiToo || isUtf8(bytes))) return undefined
    this.isAscii &&= isAsciiToo
    const { pieces } = this
    const of: Taken = { bytes, text: bytes.toString('latin1'), pieces, found: undefined }
    const at = scan(of, before.length)
    const isWhole = at !== WRONG && matches(bytes, at, after) && isEnd(bytes, at + after.length)
    return isWhole ? of.found : undefined
  }

  /** Asks, and gives up when what comes is not taken. */
  async ask(fetch: Fetch, first: string, take: Take): Promise<void> {
    try {
      const { taken } = await fetch.ask(this.run, first, (bytes) => !this.isOver && take(bytes))
      if (!taken) this.giveUp()
    } catch {
      // Whoever runs it the ordinary way meets the same.
      this.giveUp()
    }
  }
}

/** How an answer is written around its data, and what reads that. */
type Expected = { readonly before: Uint8Array; readonly scan: Scan; readonly after: Uint8Array }

type Step = (attempt: Attempt) => Promise<void> | undefined

function stepOf(node: PlanNode, fetch: (node: FetchNode) => Step): Step {
  switch (node.kind) {
    case 'Fetch':
      return fetch(node)
    case 'Flatten':
      return stepOf(node.node, fetch)
    case 'Sequence': {
      const steps = node.nodes.map((it) => stepOf(it, fetch))
      return async (attempt) => {
        for (const step of steps) {
          if (attempt.isOver) return
          const pending = step(attempt)
          if (pending) await pending
        }
      }
    }
    case 'Parallel': {
      const steps = node.nodes.map((it) => stepOf(it, fetch))
      return (attempt) => {
        const pending = steps.flatMap((step) => step(attempt) ?? [])
        return Promise.all(pending) as Promise<unknown> as Promise<void>
      }
    }
    default:
      throw new NotCut()
  }
}

const DATA = Buffer.from('{"data":')
const END = Buffer.from('}')

function rootStep(fetch: Fetch, { place, scan }: Seat): Step {
  const expected = { before: DATA, scan, after: END }
  return (attempt) =>
    attempt.ask(fetch, '', (bytes) => {
      const found = attempt.scan(bytes, expected)
      if (found === undefined) return false
      attempt.root[place] = found
      return true
    })
}

const ENTITIES = Buffer.from('{"data":{"_entities":')
const END_OF_ENTITIES = Buffer.from('}}')

function entityStep(fetch: Fetch, attached: Attached, seat: Seat): Step {
  const { type, site, place } = seat
  const { keyOf, textOf } = representationOf(attached, seat)
  const items = new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(type)))
  const scan = scanOf(items, seat.scan, true)
  const expected = { before: ENTITIES, scan, after: END_OF_ENTITIES }
  return (attempt) => {
    const pieces = attempt.pieces[site] as Piece[]
    if (pieces.length === 0) return undefined
    // Those that are represented alike are asked for once.
    const known = new Map<string, number>()
    const indexes = new Array<number>(pieces.length)
    let text = ''
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i] as Piece
      const key = keyOf(piece)
      if (key === undefined) {
        attempt.giveUp()
        return undefined
      }
      let index = known.get(key)
      if (index === undefined) {
        index = known.size
        known.set(key, index)
        if (index > 0) text += ','
        text += textOf(piece)
      }
      indexes[i] = index
    }
    const first = `"representations":[${attempt.isAscii ? text : decoded(text)}]`
    return attempt.ask(fetch, first, (bytes) => {
      const found = attempt.scan(bytes, expected)
      if (!Array.isArray(found) || found.length !== known.size) return false
      for (let i = 0; i < pieces.length; i++) {
        ;(pieces[i] as Piece)[place] = found[indexes[i] as number]
      }
      return true
    })
  }
}

type Representation = {
  /** As `compileRepresentations` writes it; undefined when something of it was not brought. */
  textOf(piece: Piece): string | undefined
  /** What tells it apart from others; undefined as before. */
  keyOf(piece: Piece): string | undefined
}

function representationOf({ told }: Attached, seat: Seat): Representation {
  const parts = told(seat.type).map((key, index) => {
    const before = `${index === 0 ? '{' : ','}${JSON.stringify(key)}:`
    const cutting = seat.told.get(key) ?? null
    return { before: cutting ? before : before + JSON.stringify(seat.type.name), cutting }
  })
  const [sole, ...others] = seat.told.values()
  const textOf = (piece: Piece) => {
    let text = ''
    for (let i = 0; i < parts.length; i++) {
      const { before, cutting } = parts[i] as (typeof parts)[number]
      const told = cutting ? textIn(piece, cutting) : ''
      if (told === undefined) return undefined
      text += before + told
    }
    return `${text}}`
  }
  return { textOf, keyOf: sole && others.length === 0 ? (it) => textIn(it, sole) : textOf }
}

function textIn(piece: Piece, cutting: Cutting): string | undefined {
  const text = cuttingIn(piece, cutting)
  return typeof text === 'string' ? text : undefined
}
