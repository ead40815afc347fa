import { DomainError, toHttp } from '@berth/platform/errors'
import type { HttpHandler } from '@berth/platform/http'

/** The platform's, for GET without an operation. */
export const page = pageOf(
  'Berth GraphQL',
  `<pre>curl "$BERTH_URL/graphql" \\
  -H 'content-type: application/json' -H "authorization: Bearer $TOKEN" \\
  -d '{"query":"{ offers { nodes { available gpuModel { name } region { name } } } }"}'</pre>
<p>With several organizations, say which by the header <code>berth-organization</code>. A mutation
that may not happen twice takes an <code>idempotency-key</code>.</p>
`,
)

/** The same, for a graph of which nothing is known here. */
export const neutralPage = pageOf(
  'GraphQL',
  `<pre>curl "$URL/graphql" \\
  -H 'content-type: application/json' \\
  -d '{"query":"{ __typename }"}'</pre>
`,
)

/** A page for a person, and for a program the way on. */
function pageOf(title: string, example: string): HttpHandler {
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:4rem auto;padding:0 1rem}pre{overflow:auto}</style>
<h1>${title}</h1>
<p>This address speaks GraphQL. Send operations as <code>POST</code> to <code>/graphql</code>. Open
subscriptions there as a WebSocket with the subprotocol <code>graphql-transport-ws</code>, or as
server-sent events at <code>/graphql/stream</code>.</p>
${example}`
  return ({ headers, requestId }, reply) => {
    if (!(headers.accept ?? '').includes('text/html')) {
      const hint = new DomainError(
        'BAD_INPUT',
        'Send a GraphQL operation: POST {"query": "…"} here',
      )
      reply.json(405, toHttp(hint, requestId).body, { allow: 'POST' })
      return
    }
    reply.send(200, html, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    })
  }
}
