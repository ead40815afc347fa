import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type PolicyLevel, policyKeys, policyLevels } from './policy-keys.ts'
import { ceilingOf, checkCeiling, combine, type Settings } from './policy-levels.ts'

const number = fc.integer({ min: 0, max: 1_000_000 })
const rate = fc.record({ perMinute: number, burst: number })
const shapes = fc.constantFrom<fc.Arbitrary<unknown>>(number, rate)

/** Of one shape: PLATFORM always, the others or not. */
const settings = shapes.chain((value) =>
  fc.record(
    { PLATFORM: value, GRANT: value, ORGANIZATION: value, USER: value },
    { requiredKeys: ['PLATFORM'] },
  ),
)
/** With another value of the same shape. */
const settingsAndOne = shapes.chain((value) =>
  fc.tuple(
    fc.record(
      { PLATFORM: value, GRANT: value, ORGANIZATION: value, USER: value },
      { requiredKeys: ['PLATFORM'] },
    ),
    value,
  ),
)

const holds = (of: Settings) => combine('MINIMUM', of)

/** In no field above. */
function isWithin(value: unknown, ceiling: unknown): boolean {
  const fields = (it: unknown): Record<string, number> =>
    typeof it === 'number' ? { it } : (it as Record<string, number>)
  const [own, wider] = [fields(value), fields(ceiling)]
  return Object.keys(wider).every((name) => Number(own[name]) <= Number(wider[name]))
}

test('what holds is above no ceiling, in any field, whatever is set beneath it', () => {
  fc.assert(
    fc.property(settings, (of) => {
      const ceiling = of.GRANT ?? of.PLATFORM
      expect(isWithin(holds(of), ceiling)).toBe(true)
      if (of.ORGANIZATION !== undefined) expect(isWithin(holds(of), of.ORGANIZATION)).toBe(true)
      if (of.USER !== undefined) expect(isWithin(holds(of), of.USER)).toBe(true)
    }),
  )
})

test('whatever an organization sets, for itself or a member, raises nothing above what it has without', () => {
  fc.assert(
    fc.property(settingsAndOne, ([of, value]) => {
      const { USER: _user, ...all } = of
      const { ORGANIZATION: _own, ...given } = all
      expect(isWithin(holds({ ...given, ORGANIZATION: value }), holds(given))).toBe(true)
      expect(isWithin(holds({ ...all, USER: value }), holds(all))).toBe(true)
    }),
  )
})

test('a ceiling that is lowered narrows what is beneath it; one that is raised narrows nothing', () => {
  fc.assert(
    fc.property(settingsAndOne, ([of, value]) => {
      for (const level of ['PLATFORM', 'GRANT'] as const) {
        const after = { ...of, [level]: value }
        expect(isWithin(holds(after), after.GRANT ?? after.PLATFORM)).toBe(true)
        if (of[level] !== undefined && isWithin(of[level], value)) {
          expect(isWithin(holds(of), holds(after))).toBe(true)
        }
      }
    }),
  )
})

test('what passes the check of the ceiling holds as it is; what does not would not', () => {
  fc.assert(
    fc.property(settingsAndOne, fc.constantFrom<PolicyLevel>('ORGANIZATION', 'USER'), (...args) => {
      const [[of, value], level] = args
      const { USER: _user, ...wider } = of
      const before = level === 'USER' ? wider : { ...wider, ORGANIZATION: undefined }
      const ceiling = ceilingOf('MINIMUM', level, before)
      const after = holds({ ...before, [level]: value })
      let isPassed = true
      try {
        checkCeiling(value, ceiling)
      } catch (error) {
        isPassed = false
        expect(error).toMatchObject({ code: 'BAD_INPUT', extensions: { ceiling } })
        expect((error as Error).message).toContain(JSON.stringify(ceiling))
      }
      expect(isPassed).toBe(JSON.stringify(after) === JSON.stringify(value))
    }),
  )
})

test('a grant stands in the place of the platform’s, above it or beneath', () => {
  expect(holds({ PLATFORM: 5, GRANT: 9 })).toBe(9)
  expect(holds({ PLATFORM: 5, GRANT: 2 })).toBe(2)
  expect(holds({ PLATFORM: 5, GRANT: 9, ORGANIZATION: 7 })).toBe(7)
})

test('a value of another shape, a field of another release, and a prototype raise nothing', () => {
  const PLATFORM = { perMinute: 10, burst: 5 }
  for (const ORGANIZATION of [
    99,
    'many',
    [99],
    {},
    { perMinute: 'many', burst: null },
    { extra: 99 },
    JSON.parse('{"__proto__": {"perMinute": 99, "burst": 99}}'),
    Object.create({ perMinute: 1, burst: 1 }),
    { perMinute: Number.NaN },
  ]) {
    const result = holds({ PLATFORM, ORGANIZATION }) as typeof PLATFORM
    expect(Object.keys(result)).toEqual(['perMinute', 'burst'])
    expect(result.perMinute > 10 || result.burst > 5).toBe(false)
  }
})

test('the platform’s alone holds of what is the platform’s, and all of what is joined', () => {
  const all = { PLATFORM: 'a', GRANT: 'b', ORGANIZATION: 'c', USER: 'd' }
  expect(combine('PLATFORM', all)).toBe('a')
  expect(combine('UNION', { ORGANIZATION: 'c', PLATFORM: 'a' })).toEqual(['a', 'c'])
  for (const level of policyLevels) {
    expect(ceilingOf('PLATFORM', level, all)).toBeUndefined()
    expect(ceilingOf('UNION', level, all)).toBeUndefined()
  }
})

test('what is set at one level alone is the platform’s; every other one has a ceiling or is joined', () => {
  for (const [key, { combination, levels }] of policyKeys) {
    expect(levels[0], key).toBe('PLATFORM')
    expect(combination === 'PLATFORM', key).toBe(levels.length === 1)
  }
})
