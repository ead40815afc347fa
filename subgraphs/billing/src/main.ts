import { runService } from '@berth/platform/lifecycle'
import { openBilling } from './app.ts'
import { billingConfig } from './config.ts'

await runService('billing', billingConfig, openBilling)
