import { runService } from '@berth/platform/lifecycle'
import { openGateway } from './app.ts'
import { gatewayConfig } from './config.ts'
import { boundHeapGrowth } from './heap.ts'

boundHeapGrowth()
await runService('gateway', gatewayConfig, openGateway)
