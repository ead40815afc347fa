// npm start
import { install, runNode } from './bootstrap.js'

install()
runNode('platform/src/run/start.ts')
