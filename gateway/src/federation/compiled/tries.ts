import type { Answer } from '../answers.ts'
import type { Run } from './run.ts'
import type { Splice } from './splice.ts'

/** How a run of a query went without parsing what subgraphs answer. */
export const TRY_OUTCOMES = [
  'spliced',
  /** It came to nothing, and what was heard was parsed. */
  'missed',
  /** Not tried: it came to nothing many times in a row. */
  'spared',
  /** Not tried: the first run of an operation. */
  'first',
  /** Not tried: of this operation, or with this plan, it cannot be done. */
  'impossible',
  /** A fault of ours; parsed all the same. */
  'bug',
] as const
export type TryOutcome = (typeof TRY_OUTCOMES)[number]

/** Told of each run of a query. */
export type OnTry = (outcome: TryOutcome, error?: unknown) => void

/** So many in a row came to nothing, and only one in so many is tried: some subgraphs write otherwise. */
const MAX_MISSES = 20
const SELDOM = 100

/**
 * Decides which runs of a query are tried without parsing. Never the first: what is compiled for it
 * takes as much time and room as all else, which operations that run once are not worth.
 *
 * @returns null where a run is to go the ordinary way, at once or after it was tried: see `Splice`
 */
export function createTries(
  compile: () => Splice | null,
  onTry: OnTry,
): (run: Run) => Promise<Answer | null> | null {
  let isFirst = true
  let splice: Splice | null | undefined
  let misses = 0
  let spared = 0

  return (run) => {
    if (isFirst) {
      isFirst = false
      onTry('first')
      return null
    }
    if (splice === undefined) {
      try {
        splice = compile()
      } catch (error) {
        splice = null
        onTry('bug', error)
        return null
      }
    }
    if (splice === null) {
      onTry('impossible')
      return null
    }
    if (misses >= MAX_MISSES && ++spared % SELDOM !== 0) {
      onTry('spared')
      return null
    }
    return tried(splice, run)
  }

  async function tried(splice: Splice, run: Run): Promise<Answer | null> {
    try {
      const answer = await splice(run)
      misses = answer ? 0 : misses + 1
      onTry(answer ? 'spliced' : 'missed')
      return answer
    } catch (error) {
      misses++
      onTry('bug', error)
      return null
    }
  }
}
