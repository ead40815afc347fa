import { list, serviceConfig } from '@berth/platform/config'
import { z } from 'zod'

const positive = z.coerce.number().int().positive()

export const terminalConfig = {
  ...serviceConfig,
  /** Origins of the pages that may open terminals, such as https://console.example.com. */
  BERTH_ALLOWED_ORIGINS: list,
  /** CIDRs of the proxies before the terminals, whose `X-Forwarded-For` is believed. */
  BERTH_TRUSTED_PROXIES: list,
  /** Of this process: beyond it new sessions are shed. One may take 4 MiB while its client stalls. */
  BERTH_TERMINAL_MAX_SESSIONS: positive.default(300),
  BERTH_TERMINAL_MAX_SESSIONS_PER_USER: positive.default(16),
  BERTH_TERMINAL_IDLE_SECONDS: positive.default(30 * 60),
  BERTH_TERMINAL_MAX_SECONDS: positive.max(24 * 3_600).default(12 * 3_600),
  BERTH_TERMINAL_RESUME_SECONDS: positive.default(60),
  /** Attempts to open a session, per network address. */
  BERTH_TERMINAL_RATE_PER_MINUTE: positive.default(600),
  BERTH_TERMINAL_RATE_BURST: positive.default(200),
}
