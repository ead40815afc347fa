import { createRequire } from 'node:module'
import path from 'node:path'
import { defineConfig, mergeConfig, type ViteUserConfig } from 'vitest/config'

const require = createRequire(import.meta.url)

/**
 * What every workspace's tests have in common: they stand beside their source and talk to real
 * servers, obtained once for the whole run.
 */
export function defineTestConfig(config: ViteUserConfig = {}): ViteUserConfig {
  return mergeConfig(
    defineConfig({
      // As Node resolves it: otherwise a second graphql is loaded beside the one that Apollo requires.
      resolve: { alias: [{ find: /^graphql$/, replacement: require.resolve('graphql') }] },
      test: {
        include: ['src/**/*.test.ts'],
        globalSetup: [path.join(import.meta.dirname, 'global-setup.ts')],
        env: { BERTH_ENV: 'test' },
        // Two cores serve the tests and the servers under test: more workers only make them wait.
        maxWorkers: 2,
        // Nothing is measured by them: a machine that is busy with the other suites may take its time.
        testTimeout: 180_000,
        hookTimeout: 180_000,
        // Where a run decides over a change: what fails once and then holds is told as such, and fails nobody.
        retry: process.env.CI ? 1 : 0,
      },
    }),
    config,
  )
}
