import { DomainError, toHttp } from '@berth/platform/errors'
import type { HttpHandler } from '@berth/platform/http'

/** GET without an operation: a page for a person, and for a program the way on. */
export const page: HttpHandler = ({ headers, requestId }, reply) => {
  if (!(headers.accept ?? '').includes('text/html')) {
    const hint = new DomainError('BAD_INPUT', 'Send a GraphQL operation: POST {"query": "…"} here')
    reply.json(405, toHttp(hint, requestId).body, { allow: 'POST' })
    return
  }
  reply.send(200, HTML, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy':
      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
  })
}

const HTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Berth GraphQL</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:4rem auto;padding:0 1rem}pre{overflow:auto}</style>
<h1>Berth GraphQL</h1>
<p>This address speaks GraphQL. Send operations as <code>POST</code>, and open subscriptions as a
WebSocket with the subprotocol <code>graphql-transport-ws</code>, here.</p>
<pre>curl "$BERTH_URL/graphql" \\
  -H 'content-type: application/json' -H "authorization: Bearer $TOKEN" \\
  -d '{"query":"{ offers { nodes { available gpuModel { name } region { name } } } }"}'</pre>
<p>With several organizations, say which by the header <code>berth-organization</code>. A mutation
that may not happen twice takes an <code>idempotency-key</code>.</p>
`
