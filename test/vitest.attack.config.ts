import { defineTestConfig } from '@berth/platform/test-kit/vitest'

/** The full-size faults and races: minutes to hours, and no part of `npm test`. */
export default defineTestConfig({
  test: {
    include: ['attack/**/*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    fileParallelism: false,
  },
})
