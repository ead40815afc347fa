/** Strings, and what separates them; everything else is of no matter here. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/g

/**
 * A JSON object in which no object has a name twice (RFC 7519, section 4): two readers of such a one
 * may read two things. Null for anything else, and for what is no UTF-8.
 */
export function parseStrictJson(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const json: unknown = JSON.parse(text)
    const isObject = typeof json === 'object' && json !== null && !Array.isArray(json)
    return isObject && !hasSameNames(text) ? (json as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** @param text well-formed JSON */
function hasSameNames(text: string): boolean {
  // Null stands for an array, which has no names.
  const open: (Set<string> | null)[] = []
  let last = ''
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(null)
    else if (token === '}' || token === ']') open.pop()
    else if (token === ':') {
      const names = open.at(-1)
      const name = JSON.parse(last) as string
      if (names?.has(name)) return true
      names?.add(name)
    } else last = token
  }
  return false
}
