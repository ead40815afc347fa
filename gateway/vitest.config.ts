import { defineTestConfig } from '@berth/platform/test-kit/vitest'

// A platform of six services runs beside each test file: patience costs nothing when all is well.
export default defineTestConfig({
  test: {
    include: ['test-graphs/**/*.test.ts'],
    testTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
  },
})
