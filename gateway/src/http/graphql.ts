import type { IncomingHttpHeaders } from 'node:http'
import type { ApolloServer } from '@apollo/server'
import type { Actor } from '@berth/platform/actor'
import { createGraphqlHandler, type GraphqlLane } from '@berth/platform/graphql-http'
import type { HttpHandler, HttpRequest, Routes } from '@berth/platform/http'
import type { Authenticate } from '../authentication/authenticate.ts'
import { presentedBy } from '../authentication/presented.ts'
import { type GatewayContext, newTraceparent } from '../context.ts'
import type { Credentials } from '../federation/credentials.ts'
import { createPreflight, withCors } from './cors.ts'

/** `/graphql` over HTTP. */
export function graphqlRoutes({
  apollo,
  lane,
  authenticate,
  credentialsFor,
  allowedOrigins,
  forwardedHeaders,
  page,
}: {
  apollo: ApolloServer<GatewayContext>
  lane: GraphqlLane<GatewayContext>
  authenticate: Authenticate
  /** What subgraphs are told of whoever sent these headers. */
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials
  allowedOrigins: readonly string[]
  forwardedHeaders: readonly string[]
  /** For GET without an operation. */
  page: HttpHandler
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
    'OPTIONS /graphql': cors(createPreflight(forwardedHeaders)),
  }
}

async function contextOf(
  { headers, clientIp, requestId, traceparent, log }: HttpRequest,
  authenticate: Authenticate,
  credentialsFor: (headers: IncomingHttpHeaders) => (actor: Actor) => Credentials,
): Promise<GatewayContext> {
  const { actor } = await authenticate(presentedBy(headers, clientIp, 'http'), log)
  return {
    actor,
    credentials: credentialsFor(headers)(actor),
    clientIp,
    requestId,
    traceparent: traceparent ?? newTraceparent(),
    idempotencyKey: textOf(headers['idempotency-key']) ?? null,
    reportsCost: headers['berth-cost'] !== undefined,
    log,
  }
}

function textOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
