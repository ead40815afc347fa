import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import type { PolicySource } from '@berth/platform/policy-client'
import {
  appendAuditTrail,
  beginSessionRefresh,
  createSession,
  decideAction,
  endSessionRefresh,
  readDeniedSigningKeys,
  readGrants,
  readPolicies,
  readRevocations,
  readStanding,
  refreshSigningKeys,
  resolveActor,
  resolveApiKey,
  resolveSession,
  revokeSessions,
  signCertificate,
  touchSession,
} from '@berth/schema/commands/policy'
import type { AuditTrail } from './service/audit-trail.ts'
import type { Certificates } from './service/certificates.ts'
import type { Directory } from './service/directory.ts'
import type { PersonStanding } from './service/person-standing.ts'
import type { Policies } from './service/policies.ts'
import type { PresentApiKey } from './service/present-api-key.ts'
import type { Revocations } from './service/revocations.ts'
import type { Sessions } from './service/sessions.ts'
import type { SigningKeys } from './service/signing-keys.ts'

/** What other services may ask. */
export function createCommands({
  auditTrail,
  certificates,
  decisions,
  directory,
  personStanding,
  policies,
  presentApiKey,
  revocations,
  sessions,
  signingKeys,
}: {
  auditTrail: Pick<AuditTrail, 'append'>
  certificates: Certificates
  decisions: Pick<PolicySource, 'grants' | 'decide'>
  directory: Directory
  personStanding: PersonStanding
  policies: Policies
  presentApiKey: PresentApiKey
  revocations: Revocations
  sessions: Sessions
  signingKeys: SigningKeys
}): CommandHandler[] {
  return [
    handleCommand(resolveActor, ({ issuer, subject, organizationId }) =>
      directory.resolve(issuer, subject, organizationId),
    ),
    handleCommand(readStanding, personStanding),
    handleCommand(resolveApiKey, presentApiKey),
    handleCommand(readPolicies, (input) => policies.read(input)),
    handleCommand(readGrants, async (authority, by) => {
      const { granted, dependent } = await decisions.grants(authority, by)
      return { granted: [...granted], dependent: [...dependent] }
    }),
    handleCommand(decideAction, (input, by) => decisions.decide(input, by)),
    handleCommand(readRevocations, async (input) => {
      const { concerns, ...page } = await revocations.read(input)
      return { ...page, concerns: [...concerns] }
    }),
    handleCommand(appendAuditTrail, async ({ events }, { caller }) => ({
      appended: await auditTrail.append(caller, events),
    })),
    handleCommand(signCertificate, (request, by) => certificates.sign(request, by)),
    handleCommand(readDeniedSigningKeys, async () => ({ keyIds: await signingKeys.deniedIds() })),
    handleCommand(refreshSigningKeys, async (input, { actor }) => {
      await signingKeys.refresh(input, actor)
      return {}
    }),
    ...sessionCommands(sessions),
  ]
}

function sessionCommands(sessions: Sessions): CommandHandler[] {
  return [
    handleCommand(createSession, async (signIn) => {
      await sessions.create(signIn)
      return {}
    }),
    handleCommand(resolveSession, ({ tokenHash }) => sessions.resolve(tokenHash)),
    handleCommand(touchSession, async ({ id }) => {
      await sessions.touch(id)
      return {}
    }),
    handleCommand(revokeSessions, async ({ which, reason }) => {
      const ending =
        'issuer' in which ? { ...which, createdBefore: new Date(which.createdBefore) } : which
      return { ended: await sessions.end(ending, reason) }
    }),
    handleCommand(beginSessionRefresh, async ({ id, lease }) => ({
      refreshToken: await sessions.beginRefresh(id, lease),
    })),
    handleCommand(endSessionRefresh, async (refreshed) => ({
      isStored: await sessions.endRefresh(refreshed),
    })),
  ]
}
