import { hkdfSync } from 'node:crypto'
import type { Clock } from '@berth/platform/clock'
import { EncryptJWT, jwtDecrypt } from 'jose'
import { z } from 'zod'

/** What the browser carries while it is at the issuer, and cannot read. */
export type Login = z.output<typeof Login>

const Login = z.object({
  state: z.string(),
  nonce: z.string(),
  verifier: z.string(),
  returnTo: z.string(),
})

export type LoginSeal = {
  seal(login: Login): Promise<string>
  /** Null for what was not sealed here, was changed, or is too old. */
  open(text: string): Promise<Login | null>
}

/** For the issuer's page, a password manager and a second factor. */
export const LOGIN_SECONDS = 600

/**
 * Binds a sign-in to the browser that began it: encrypted and authenticated (AES-256-GCM), so that
 * nothing has to be kept for those who leave and do not come back.
 *
 * @param secret the same in every replica; what seals is derived from it
 */
export function createLoginSeal({
  secret,
  clock,
}: {
  secret: Uint8Array
  clock: Clock
}): LoginSeal {
  const key = new Uint8Array(hkdfSync('sha256', secret, '', 'berth/gateway/login/v1', 32))
  const seconds = () => Math.floor(clock.now().getTime() / 1_000)
  return {
    seal: (login) =>
      new EncryptJWT(login)
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
        .setIssuedAt(seconds())
        .setExpirationTime(seconds() + LOGIN_SECONDS)
        .encrypt(key),
    async open(text) {
      try {
        const { payload } = await jwtDecrypt(text, key, {
          keyManagementAlgorithms: ['dir'],
          contentEncryptionAlgorithms: ['A256GCM'],
          requiredClaims: ['exp'],
          currentDate: clock.now(),
        })
        return Login.parse(payload)
      } catch {
        return null
      }
    },
  }
}
