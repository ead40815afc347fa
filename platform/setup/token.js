// npm run -s token -- user|operator|admin
import { install, runNode } from './bootstrap.js'

install()
runNode('test/issuer/token.ts')
