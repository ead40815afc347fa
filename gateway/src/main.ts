import { runService } from '@berth/platform/lifecycle'
import { openGateway } from './app.ts'
import { gatewayConfig } from './config.ts'

await runService('gateway', gatewayConfig, openGateway)
