import { runService } from '@berth/platform/lifecycle'
import { openAllocations } from './app.ts'
import { allocationsConfig } from './config.ts'

await runService('allocations', allocationsConfig, openAllocations)
