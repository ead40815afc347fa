/** Whether a pattern covers an action: `*` does every one, `allocation:*` those on allocations, any other itself. */
export function covers(pattern: string, action: string): boolean {
  if (pattern === '*' || pattern === action) return true
  return pattern.endsWith(':*') && action.startsWith(pattern.slice(0, -1))
}
