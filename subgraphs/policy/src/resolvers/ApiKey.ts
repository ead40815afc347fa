import { apiKeyState } from '../domain/api-key.ts'
import type { ApiKeyResolvers } from '../generated/resolvers.ts'

export const ApiKey: ApiKeyResolvers = {
  prefix: ({ id }, _args, { apiKeys }) => apiKeys.prefixOf(id),
  scopes: ({ scopes }) => [...scopes],
  allowedCidrs: ({ allowedCidrs }) => allowedCidrs && [...allowedCidrs],
  state: (key, _args, { now }) => apiKeyState(key, now),
  createdBy: ({ createdBy }, _args, { person }) => person(createdBy),
  overlapEndsAt: ({ previousEndsAt }, _args, { now }) =>
    previousEndsAt && previousEndsAt > now ? previousEndsAt : null,
}
