import { runService } from '@berth/platform/lifecycle'
import { openPolicy } from './app.ts'
import { policyConfig } from './config.ts'

await runService('policy', policyConfig, openPolicy)
