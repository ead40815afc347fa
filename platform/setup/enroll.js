// npm run -s node:enroll -- --name gpu-1
import { install, runNode } from './bootstrap.js'

install()
runNode('subgraphs/policy/src/enroll-tool/main.ts')
