// npm run keys:pepper|keys:kek
import { install, runNode } from './bootstrap.js'

install()
runNode('subgraphs/policy/src/keys-tool/main.ts')
