import { readFileSync } from 'node:fs'
import { testShieldTraps } from '@berth/platform/test-kit/shield-traps'
import { resolvers } from './resolvers/index.ts'
import { rules } from './rules.ts'

const sdl = new URL(import.meta.resolve('@berth/schema/inventory.graphql'))

testShieldTraps({ typeDefs: readFileSync(sdl, 'utf8'), resolvers, rules })
