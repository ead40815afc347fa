import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import {
  beginSessionRefresh,
  createSession,
  endSessionRefresh,
  readPolicies,
  readRevocations,
  resolveActor,
  resolveApiKey,
  resolveSession,
  revokeSessions,
  signCertificate,
  touchSession,
} from '@berth/schema/commands/policy'
import type { Certificates } from './service/certificates.ts'
import type { Directory } from './service/directory.ts'
import type { Policies } from './service/policies.ts'
import type { PresentApiKey } from './service/present-api-key.ts'
import type { Revocations } from './service/revocations.ts'
import type { Sessions } from './service/sessions.ts'

/** What other services may ask. */
export function createCommands({
  certificates,
  directory,
  policies,
  presentApiKey,
  revocations,
  sessions,
}: {
  certificates: Certificates
  directory: Directory
  policies: Policies
  presentApiKey: PresentApiKey
  revocations: Revocations
  sessions: Sessions
}): CommandHandler[] {
  return [
    handleCommand(resolveActor, ({ issuer, subject, organizationId }) =>
      directory.resolve(issuer, subject, organizationId),
    ),
    handleCommand(resolveApiKey, presentApiKey),
    handleCommand(readPolicies, (input) => policies.read(input)),
    handleCommand(readRevocations, async (input) => {
      const { concerns, ...page } = await revocations.read(input)
      return { ...page, concerns: [...concerns] }
    }),
    handleCommand(signCertificate, (request, by) => certificates.sign(request, by)),
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
