import { parseId } from '@berth/platform/ids'
import type { UserResolvers } from '../generated/resolvers.ts'

export const User: UserResolvers = {
  __resolveReference: ({ id }, { person }) => person(parseId('usr', id)),
}
