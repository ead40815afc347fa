import { type Actor, serviceActor } from '@berth/platform/actor'
import { appendAudit } from '@berth/platform/audit'
import type { Clock } from '@berth/platform/clock'
import type { SecretEnvelope } from '@berth/platform/envelope'
import { DomainError } from '@berth/platform/errors'
import { requestHash, withIdempotency } from '@berth/platform/idempotency'
import { type Id, idToUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import {
  newSshKeyPair,
  parseSshPublicKey,
  signSshCertificate,
} from '@berth/platform/ssh-certificate'
import type { PolicyDatabase } from '../database.ts'
import { type Authority, authorities, checkCertificateRequest } from '../domain/certificate.ts'
import { authorityPlace } from '../domain/sealed-places.ts'
import * as store from '../store/authorities.ts'

export type SignRequest = {
  authority: Authority
  /** `ssh-ed25519 AAAA…` of an ephemeral key. */
  publicKey: string
  principal: string
  organizationId: Id<'org'> | null
  ttlSeconds: number
}

export type Signed = { certificate: string; expiresAt: string }

/** The signer of SSH certificates. Its private keys leave the database sealed, and this module never. */
export type Certificates = {
  /** Makes the authorities that do not exist yet. */
  ensureAuthorities(): Promise<void>
  /** What nodes trust. */
  authorityKeys(): Promise<Record<Authority, string>>
  /**
   * Signs once per command: a repetition gets the same certificate.
   *
   * @throws {DomainError} FORBIDDEN, BAD_INPUT as `checkCertificateRequest` says, and BAD_INPUT for
   *   a key that is not Ed25519
   */
  sign(
    request: SignRequest,
    by: { actor: Actor; caller: string; commandId: string },
  ): Promise<Signed>
}

/** Nodes whose clock is behind accept a new certificate all the same. */
const CLOCK_SKEW_SECONDS = 60

export function createCertificates({
  database,
  envelope,
  clock,
  log,
}: {
  database: PolicyDatabase
  envelope: SecretEnvelope
  clock: Clock
  log: Log
}): Certificates {
  return {
    ensureAuthorities: () =>
      database.sqlTransaction(async (sql) => {
        await store.lockAuthorities(sql)
        const existing = await store.publicKeys(sql)
        for (const name of authorities.filter((it) => !existing[it])) {
          const { privateKey, publicKey } = newSshKeyPair()
          const sealed = await envelope.seal(privateKey, authorityPlace(name))
          await store.addAuthority(sql, name, publicKey, sealed)
          const { fingerprint } = parseSshPublicKey(publicKey)
          await appendAudit(sql, {
            organizationId: null,
            actor: serviceActor('policy'),
            action: 'ssh-authority.create',
            target: name,
            facts: { fingerprint },
          })
          log.info({ authority: name, fingerprint }, 'made an SSH certificate authority')
        }
      }),

    async authorityKeys() {
      const { user, node } = await store.publicKeys(database.sql)
      if (!user || !node) throw new Error('the authorities were not made at the start')
      return { user, node }
    },

    async sign(request, { actor, caller, commandId }) {
      checkCertificateRequest(request, caller)
      const { fingerprint } = requireEd25519(request.publicKey)
      const call = {
        scope: `command:${caller}`,
        key: commandId,
        operation: 'certificates.sign',
        requestHash: requestHash(request),
        ttlHours: 1,
      }
      return database.sqlTransaction((sql) =>
        withIdempotency(sql, call, async () => {
          const { authority, principal, organizationId, ttlSeconds } = request
          const { privateKeyEnc } = await store.sealedAuthority(sql, authority)
          const serial = await store.nextSerial(sql)
          const now = clock.now().getTime()
          const validBefore = new Date(Math.floor(now / 1_000 + ttlSeconds) * 1_000)
          const certificate = signSshCertificate({
            caPrivateKey: await envelope.open(privateKeyEnc, authorityPlace(authority)),
            publicKey: request.publicKey,
            keyId: `${authority}:${serial}:${principal}`,
            principals: [principal],
            validAfter: new Date(now - CLOCK_SKEW_SECONDS * 1_000),
            validBefore,
            extensions: authority === 'user' ? ['permit-pty'] : [],
            serial,
          })
          const expiresAt = validBefore.toISOString()
          await appendAudit(sql, {
            organizationId: organizationId && idToUuid(organizationId),
            actor,
            action: 'ssh-certificate.sign',
            target: principal,
            facts: { authority, caller, serial: String(serial), fingerprint, expiresAt },
          })
          return { certificate, expiresAt }
        }),
      )
    },
  }
}

function requireEd25519(publicKey: string): { fingerprint: string } {
  const parsed = parseSshPublicKey(publicKey)
  if (parsed.type !== 'ssh-ed25519') {
    throw new DomainError('BAD_INPUT', 'Only Ed25519 keys are certified: make one for the session')
  }
  return parsed
}
