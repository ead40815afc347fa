/** The W3C trace context that a request came with, or null when it has none that is well formed. */
export function parseTraceparent(text: unknown): string | null {
  if (typeof text !== 'string') return null
  const match = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(text)
  const isValid = match && !/^0+$/.test(match[1] ?? '') && !/^0+$/.test(match[2] ?? '')
  return isValid ? text : null
}
