/** What a subgraph sent, parsed. Its keys may be any text: see `read`. */
export type Json = unknown
export type JsonObject = Record<string, unknown>

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether every object answers to this key without having it, such as `constructor`. */
export function isInherited(key: string): boolean {
  return key in Object.prototype
}

/** The object's own value. */
export function read(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** Sets the object's own value: `__proto__` by assignment would set something else. */
export function write(object: JsonObject, key: string, value: unknown): void {
  if (key !== '__proto__') object[key] = value
  else Object.defineProperty(object, key, { value, ...OWN })
}

const OWN = Object.freeze({ configurable: true, enumerable: true, writable: true })

export function clone<T>(value: T): T {
  if (Array.isArray(value)) return value.map(clone) as T
  if (typeof value !== 'object' || value === null) return value
  const copy: JsonObject = {}
  for (const key of Object.keys(value)) write(copy, key, clone((value as JsonObject)[key]))
  return copy as T
}

/** As JSON.stringify of a text. Most texts are short and need no escapes: then this is faster. */
export function quoted(text: string): string {
  if (text.length > SHORT) return JSON.stringify(text)
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    // Controls, the quote and the backslash, and what may be half of a surrogate pair.
    if (code < 0x20 || code === 0x22 || code === 0x5c || code >= 0xd800) return JSON.stringify(text)
  }
  return `"${text}"`
}

const SHORT = 40
