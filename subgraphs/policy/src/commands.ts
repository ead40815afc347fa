import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import { readPolicies, resolveActor, signCertificate } from '@berth/schema/commands/policy'
import type { Certificates } from './service/certificates.ts'
import type { Directory } from './service/directory.ts'
import type { Policies } from './service/policies.ts'

/** What other services may ask. */
export function createCommands({
  certificates,
  directory,
  policies,
}: {
  certificates: Certificates
  directory: Directory
  policies: Policies
}): CommandHandler[] {
  return [
    handleCommand(resolveActor, ({ issuer, subject, organizationId }) =>
      directory.resolve(issuer, subject, organizationId),
    ),
    handleCommand(readPolicies, (input) => policies.read(input)),
    handleCommand(signCertificate, (request, by) => certificates.sign(request, by)),
  ]
}
