import type { CommandClient } from '@berth/platform/commands'
import { newUuid } from '@berth/platform/ids'
import type { PolicySource } from '@berth/platform/policy-client'
import type { RevocationPage } from '@berth/platform/revocations'
import { decideAction, readGrants, readPolicies, readRevocations } from './commands/policy.ts'

const PAGE = 1_000
const TIMEOUT_MS = 1_000

/** Policy as the policy client asks it, and what changed there, by command. */
export function policyByCommand(commands: CommandClient): PolicySource & {
  /** The changes of authority after a version; null for the latest version alone. */
  revocations(after: number | null): Promise<RevocationPage>
} {
  return {
    values: (input, options) => commands.call(readPolicies, input, options),
    grants: (authority, options) => commands.call(readGrants, authority, options),
    decide: (input, options) => commands.call(decideAction, input, options),
    revocations: (after) =>
      commands.call(
        readRevocations,
        { after, limit: PAGE },
        { commandId: newUuid(), timeoutMs: TIMEOUT_MS },
      ),
  }
}
