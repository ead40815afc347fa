import { ConfigError, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

export const issuerConfig = {
  ...serviceConfig,
  /** Its own, where the signing keys are kept. */
  BERTH_STATE_DIR: z.string(),
} as const

/**
 * Whoever reaches this issuer is whom they pick.
 *
 * @throws {ConfigError} in production, and where others could reach it
 */
export function requireDevelopment(environment: string, host: string): void {
  if (environment === 'production') {
    throw new ConfigError('BERTH_ENV: the development issuer does not run in production')
  }
  if (host !== '127.0.0.1')
    throw new ConfigError('HOST: the development issuer is on 127.0.0.1 only')
}
