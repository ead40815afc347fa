import type { IncomingHttpHeaders } from 'node:http'
import type { ApolloServer } from '@apollo/server'
import type { Actor } from '@berth/platform/actor'
import { createGraphqlHandler, type GraphqlLane } from '@berth/platform/graphql-http'
import type { HttpHandler, HttpRequest, Routes } from '@berth/platform/http'
import type { Authenticate } from '../authentication/authenticate.ts'
import { type GatewayContext, newTraceparent } from '../context.ts'
import type { Credentials } from '../federation/credentials.ts'
import { preflight, withCors } from './cors.ts'
import { page } from './page.ts'

/** `/graphql` over HTTP. */
export function graphqlRoutes({
  apollo,
  lane,
  authenticate,
  credentialsFor,
  allowedOrigins,
}: {
  apollo: ApolloServer<GatewayContext>
  lane: GraphqlLane<GatewayContext>
  authenticate: Authenticate
  /** What subgraphs are told of whoever sent these headers. */
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  allowedOrigins: readonly string[]
}): Routes {
  const serve = createGraphqlHandler(
    apollo,
    (request) => contextOf(request, authenticate, credentialsFor),
    lane,
  )
  const cors = (handler: HttpHandler) => withCors(allowedOrigins, handler)
  return {
    'POST /graphql': cors(serve),
    'GET /graphql': cors((request, reply) =>
      request.query.has('query') ? serve(request, reply) : page(request, reply),
    ),
    'OPTIONS /graphql': cors(preflight),
  }
}

async function contextOf(
  { headers, requestId, traceparent, log, raw }: HttpRequest,
  authenticate: Authenticate,
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials,
): Promise<GatewayContext> {
  const clientIp = raw.socket.remoteAddress ?? 'unknown'
  const organizationId = textOf(headers['berth-organization'])
  const presented = { authorization: headers.authorization, organizationId, clientIp }
  const { actor } = await authenticate(presented, log)
  return {
    actor,
    credentials: credentialsFor(headers)(actor),
    clientIp,
    requestId,
    traceparent: traceparent ?? newTraceparent(),
    idempotencyKey: textOf(headers['idempotency-key']) ?? null,
    log,
  }
}

function textOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
