import { runService } from '@berth/platform/lifecycle'
import { openInventory } from './app.ts'
import { inventoryConfig } from './config.ts'

await runService('inventory', inventoryConfig, openInventory)
