import fastifyJwt from '@fastify/jwt'
import mercuriusGateway from '@mercuriusjs/gateway'
import Fastify from 'fastify'
import { Histogram } from 'prom-client'
import { configuration } from '../configuration.js'

const { port, services, pem, issuer, audience } = configuration
const app = Fastify({ logger: false })
const seconds = new Histogram({ name: 'operation_seconds', help: 'Operations' })

app.register(fastifyJwt, {
  secret: { public: pem },
  verify: { allowedIss: issuer, allowedAud: audience, algorithms: ['RS256'], cache: true },
})
app.addHook('onRequest', (request) => request.jwtVerify())
app.addHook('onResponse', async (_request, reply) => seconds.observe(reply.elapsedTime / 1000))
app.register(mercuriusGateway, {
  queryDepth: 12,
  jit: 1,
  gateway: {
    services: Object.entries(services).map(([name, url]) => ({
      name,
      url,
      mandatory: true,
      connections: 64,
      keepAliveMaxTimeout: 120_000,
      rewriteHeaders: ({ authorization } = {}) => (authorization ? { authorization } : {}),
    })),
  },
})
await app.listen({ port, host: '127.0.0.1' })
console.log('ready')
