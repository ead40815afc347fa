// npm test
import { install, runNode } from './bootstrap.js'

install()
runNode('platform/src/run/test.ts')
