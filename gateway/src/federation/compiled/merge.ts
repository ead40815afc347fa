import { isObject, type JsonObject, read, write } from './json.ts'

/**
 * Adds what a fetch brought to what is there. A part that is new is taken as it is, not copied.
 *
 * A null stays, and takes the place of what is there. When two fetches bring parts of one field, it
 * is null because something below it failed in one of them; and the answer must not depend on which
 * of them comes last.
 *
 * @param copies objects and lists below the target are another's, and are copied before they change
 */
export function merge(target: JsonObject, source: JsonObject, copies: boolean): void {
  for (const key in source) {
    const value = source[key]
    if (value === undefined) continue
    const existing = key === '__proto__' ? read(target, key) : target[key]
    if (existing === undefined) write(target, key, value)
    else if (existing !== value) combine(target, key, existing, value, copies)
  }
}

function combine(
  target: JsonObject,
  key: string,
  existing: unknown,
  value: unknown,
  copies: boolean,
): void {
  if (isObject(existing) && isObject(value)) {
    const own = copies ? { ...existing } : existing
    if (copies) write(target, key, own)
    merge(own, value, copies)
  } else if (Array.isArray(existing) && Array.isArray(value) && existing.length === value.length) {
    const own = copies ? [...existing] : existing
    if (copies) write(target, key, own)
    mergeLists(own, value, copies)
  } else if (existing !== null) write(target, key, value)
}

function mergeLists(target: unknown[], source: readonly unknown[], copies: boolean): void {
  for (const [index, value] of source.entries()) {
    const existing = target[index]
    if (existing === value) continue
    if (isObject(existing) && isObject(value)) {
      const own = copies ? { ...existing } : existing
      if (copies) target[index] = own
      merge(own, value, copies)
    } else if (
      Array.isArray(existing) &&
      Array.isArray(value) &&
      existing.length === value.length
    ) {
      const own = copies ? [...existing] : existing
      if (copies) target[index] = own
      mergeLists(own, value, copies)
    } else if (existing !== null) target[index] = value
  }
}
