import { DomainError } from '@berth/platform/errors'
import { type PolicyCombination, type PolicyLevel, policyLevels } from './policy-keys.ts'

/** What is set at each level; undefined where nothing is. */
export type Settings = Readonly<Partial<Record<PolicyLevel, unknown>>>

/**
 * The value that holds. `MINIMUM`: of each number the least, so that no level goes beyond a wider one;
 * a grant stands in the place of the platform's own. `UNION`: a list of all that is set, the widest
 * level first. `PLATFORM`: the platform's.
 *
 * @returns undefined when nothing is set
 */
export function combine(combination: PolicyCombination, settings: Settings): unknown {
  switch (combination) {
    case 'PLATFORM':
      return settings.PLATFORM
    case 'UNION':
      return policyLevels.map((level) => settings[level]).filter((it) => it !== undefined)
    case 'MINIMUM':
      return [settings.ORGANIZATION, settings.USER].reduce(
        (widest, own) => (own === undefined ? widest : narrowest(widest, own)),
        settings.GRANT ?? settings.PLATFORM,
      )
  }
}

/** By level, of rows in which null is what is not set. */
export function settingsOf(
  rows: readonly { readonly level: PolicyLevel; readonly value: unknown }[],
): Settings {
  return Object.fromEntries(
    rows.filter(({ value }) => value !== null).map(({ level, value }) => [level, value]),
  )
}

/** What nothing at this level may be above; undefined where nothing is above it. */
export function ceilingOf(
  combination: PolicyCombination,
  level: PolicyLevel,
  { PLATFORM, GRANT, ORGANIZATION }: Settings,
): unknown {
  if (combination !== 'MINIMUM') return undefined
  if (level === 'ORGANIZATION') return combine(combination, { PLATFORM, GRANT })
  if (level === 'USER') return combine(combination, { PLATFORM, GRANT, ORGANIZATION })
  return undefined
}

/** @throws {DomainError} BAD_INPUT that names the ceiling, when a number of the value is above it */
export function checkCeiling(value: unknown, ceiling: unknown): void {
  if (ceiling === undefined) return
  const above = numbersOf(value).find(
    ([path, number]) => number > (numberAt(ceiling, path) ?? Number.POSITIVE_INFINITY),
  )
  if (!above) return
  const [path, number] = above
  const where = ['value', ...path].join('.')
  throw new DomainError(
    'BAD_INPUT',
    `\`${where}\` is ${number}: at most ${numberAt(ceiling, path)} is yours to set. ` +
      `The ceiling is ${JSON.stringify(ceiling)}: ask the platform for more`,
    { ceiling },
  )
}

/** Field by field. What is no such value as the wider one does not count. */
function narrowest(wider: unknown, own: unknown): unknown {
  if (wider === undefined) return own
  if (typeof wider === 'number') return typeof own === 'number' ? Math.min(wider, own) : wider
  if (!isFields(wider) || !isFields(own)) return wider
  return Object.fromEntries(
    Object.entries(wider).map(([name, value]) => [
      name,
      Object.hasOwn(own, name) ? narrowest(value, own[name]) : value,
    ]),
  )
}

type Path = readonly string[]

/** A number itself, or those in the fields of an object. */
function numbersOf(value: unknown, path: Path = []): (readonly [Path, number])[] {
  if (typeof value === 'number') return [[path, value]]
  if (!isFields(value)) return []
  return Object.entries(value).flatMap(([name, field]) => numbersOf(field, [...path, name]))
}

function numberAt(value: unknown, [name, ...rest]: Path): number | undefined {
  if (name === undefined) return typeof value === 'number' ? value : undefined
  return isFields(value) && Object.hasOwn(value, name) ? numberAt(value[name], rest) : undefined
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
