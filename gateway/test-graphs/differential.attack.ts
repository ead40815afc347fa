import { expect, test } from 'vitest'
import { checkGraph } from './differential.ts'
import { testGraphs } from './graphs/all.ts'

const ROUNDS = 20
const OPERATIONS = 100_000 / ROUNDS / testGraphs.length

test.each(testGraphs)('100,000 operations, those of $name', async (definition) => {
  // In rounds: what is parsed and compiled of one is given up before the next.
  for (let round = 1; round <= ROUNDS; round += 1) {
    const checked = await checkGraph(definition, { seed: round * 1_000, generated: OPERATIONS })
    expect(checked.disagreements.join('\n\n')).toBe('')
    expect(checked.unplanned).toEqual([])
  }
})
