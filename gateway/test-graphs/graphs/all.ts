import type { TestGraph } from '../graph.ts'
import { abstract } from './abstract.ts'
import { context } from './context.ts'
import { fed1 } from './fed1.ts'
import { interfaceObject } from './interface-object.ts'
import { interfaceStub } from './interface-stub.ts'
import { joined } from './joined.ts'
import { keys } from './keys.ts'
import { mashup } from './mashup.ts'
import { mutations } from './mutations.ts'
import { override } from './override.ts'
import { provides } from './provides.ts'
import { requires } from './requires.ts'
import { shapes } from './shapes.ts'

export const testGraphs: readonly TestGraph[] = [
  keys,
  mashup,
  requires,
  provides,
  abstract,
  interfaceObject,
  interfaceStub,
  mutations,
  override,
  context,
  fed1,
  shapes,
  joined,
]
