import { runService } from '@berth/platform/lifecycle'
import { openTerminals } from './app.ts'
import { terminalConfig } from './config.ts'

await runService('terminal', terminalConfig, openTerminals)
