import { defineTestConfig } from '@berth/platform/test-kit/vitest'

export default defineTestConfig()
