// npm run gateway -- --supergraph FILE --port N …
import { install, runNode } from './bootstrap.js'

install()
runNode('gateway/src/standalone/main.ts')
