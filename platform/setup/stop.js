// npm stop
import { install, runNode } from './bootstrap.js'

install()
runNode('platform/src/run/stop.ts')
