import { ConfigError, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

export const issuerConfig = {
  ...serviceConfig,
  /** Its own, where the signing keys are kept. */
  BERTH_STATE_DIR: z.string(),
  /** The gateway, as the client that signs browsers in: all three, or none. */
  OIDC_CLIENT_ID: z.string().optional(),
  OIDC_CLIENT_SECRET: z.string().optional(),
  BERTH_PUBLIC_URL: z.url({ protocol: /^https?$/ }).optional(),
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
