import { runService } from '@berth/platform/lifecycle'
import { nodeConfig, openNode } from './app.ts'

await runService('development-node', nodeConfig, openNode)
