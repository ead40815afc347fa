import { ERROR_CODES } from './errors.ts'

/** `doc/errors.md`, whole: the closed list of error codes as a page. */
export function renderErrorsDoc(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { http, close, retryable, meaning }]) =>
      `| \`${code}\` | ${http} | ${close} | ${retryable ? 'yes' : 'no'} | ${meaning} |`,
  )
  return `${INTRODUCTION}
| code | HTTP | WebSocket close | retryable | meaning, and what to do |
|---|---|---|---|---|
${rows.join('\n')}
`
}

const INTRODUCTION = `# Errors

<!-- Rendered from platform/src/errors.ts; in platform, \`npx vitest run errors.test -u\` renders it anew. -->

Every error has a code of this closed list, the same over HTTP, GraphQL and WebSocket. In GraphQL it
is \`extensions.code\`, beside \`requestId\`, \`retryable\` and, where it is known, \`retryAfterSeconds\`;
a route that speaks no GraphQL answers \`{"error": {"code", "message", "requestId", "retryable"}}\`
with the HTTP status and, where it is known, \`Retry-After\`.

A GraphQL response has the HTTP status of the list only when nothing was executed; otherwise it is
200 and errors stand beside the data. *Retryable* means that the same request, unchanged, may succeed
later; a mutation is repeated with the same \`Idempotency-Key\`. A fault on our side shows no more than
\`INTERNAL\` and the request id, by which operators find its cause in the log. One answer shows 100
errors at most; the last one then says how many are left out (\`TOO_COMPLEX\`, \`leftOut\`), and the data
is as it would be with all of them.

A WebSocket is closed with the code of the list when the error ends the whole connection. Besides,
1001 says that the server is stopping (connect again), and 4408 that a connection asked for nothing
in time.
`
