import { defineTestConfig } from './src/test-kit/vitest.ts'

export default defineTestConfig({ test: { include: ['setup/**/*.test.ts'] } })
