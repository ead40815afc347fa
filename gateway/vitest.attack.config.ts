import { defineTestConfig } from '@berth/platform/test-kit/vitest'

/** What is tested at full size: an hour or so, and no part of `npm test`. */
export default defineTestConfig({
  test: {
    include: ['{src,test-graphs}/**/*.attack.ts'],
    exclude: ['**/node_modules/**'],
    testTimeout: 7_200_000,
  },
})
