import path from 'node:path'
import { defineTestConfig } from '@berth/platform/test-kit/vitest'

/** The differential test at full size: an hour or so, and no part of `npm test`. */
export default defineTestConfig({
  root: path.join(import.meta.dirname, '..'),
  test: { include: ['test-graphs/*.attack.ts'], testTimeout: 7_200_000 },
})
