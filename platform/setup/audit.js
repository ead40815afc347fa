// npm run audit:verify|audit:export
import { install, runNode } from './bootstrap.js'

install()
runNode('subgraphs/policy/src/audit-tool/main.ts')
