import { newId } from '@berth/platform/ids'
import { testDriver } from './conformance.ts'
import { createMemoryNodes } from './memory.ts'

const driver = createMemoryNodes()
const nodeId = newId('nod')
testDriver('memory', () => ({ driver, nodeId }))
