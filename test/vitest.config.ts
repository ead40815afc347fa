import { defineTestConfig } from '@berth/platform/test-kit/vitest'

/** `attack/` holds the full-size faults and races; `npm run attack` runs them. */
export default defineTestConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['attack/**', '**/node_modules/**'],
    testTimeout: 240_000,
    hookTimeout: 180_000,
  },
})
