import { beforeMember, endOfObject, matches, type Scan, type Scanned, WRONG } from './scan.ts'

/** A field of an object as a fetch brings it. */
export type Fetched = {
  readonly key: string
  /** Finds something where `isTaken`. */
  readonly scan: Scan
  /** Whether it is taken apart. */
  readonly isTaken: boolean
  /** Whether its value is wanted by itself, as text. */
  readonly isWanted: boolean
  /** Its position among the client's fields; -1 when the client did not ask for it. */
  readonly at: number
  /** Whether the client gets it as it is, key and value. */
  readonly isWhole: boolean
}

/** What is cut out of an object, by index in what is found. */
export type Cuts = {
  /** Leaves an array of cuttings in `found`, followed by so many empty places. */
  readonly scan: (places: number) => Scan
  readonly count: number
  /** Values by response name. */
  readonly values: ReadonlyMap<string, number>
  /** Whole members that stand next to each other in the answer too, by the first one's position there. */
  readonly runs: ReadonlyMap<number, number>
}

type Member = {
  readonly before: Uint8Array
  readonly scan: Scan
  readonly isTaken: boolean
  readonly isValue: boolean
  readonly begins: boolean
  readonly ends: boolean
}

/**
 * How one object of an answer is cut: into what is taken apart or wanted by itself, and into runs of
 * members that the client gets as they are. What the client did not ask for is checked, and in no run.
 *
 * @param fetched all that the fetch brings, in its order
 */
export function compileCuts(fetched: readonly Fetched[]): Cuts {
  const values = new Map<string, number>()
  const runs = new Map<number, number>()
  let count = 0
  let runAt = 0
  const members = fetched.map((it, index): Member => {
    const begins = it.isWhole && !isNext(fetched[index - 1], it)
    const ends = it.isWhole && !isNext(it, fetched[index + 1])
    const isValue = it.isTaken || it.isWanted || (it.at >= 0 && !it.isWhole)
    if (begins) runAt = it.at
    if (isValue) values.set(it.key, count++)
    if (ends) runs.set(runAt, count++)
    const { scan, isTaken } = it
    return { before: beforeMember(index, it.key), scan, isTaken, isValue, begins, ends }
  })
  return { scan: (places) => cutting(members, count + places), count, values, runs }
}

function isNext(one: Fetched | undefined, other: Fetched | undefined): boolean {
  return one?.isWhole === true && other?.isWhole === true && one.at + 1 === other.at
}

function cutting(members: readonly Member[], length: number): Scan {
  return (of: Scanned, from) => {
    const { bytes, text } = of
    // As long as it will be: an array that grows takes more.
    const found = new Array<unknown>(length)
    let next = 0
    let at = from
    let runAt = from
    for (let i = 0; i < members.length; i++) {
      const { before, scan, isTaken, isValue, begins, ends } = members[i] as Member
      if (!matches(bytes, at, before)) return WRONG
      // Behind the brace or comma.
      if (begins) runAt = at + 1
      const valueAt = at + before.length
      at = scan(of, valueAt)
      if (at === WRONG) return WRONG
      if (isValue) found[next++] = isTaken ? of.found : text.slice(valueAt, at)
      if (ends) found[next++] = text.slice(runAt, at)
    }
    of.found = found
    return endOfObject(bytes, at)
  }
}
