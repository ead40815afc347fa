import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { expect, vi } from 'vitest'
import { createBrowser, signInUpToCallback } from '../browser.ts'
import type { GraphClient } from '../graph-client.ts'
import { reached } from './main-job.ts'
import * as story from './story.ts'
import type { TestPlatform } from './test-platform.ts'

const WITHIN = { timeout: 60_000, interval: 200 }

/** An id of each type that has ids, all of one organization or of what it can see; codes likewise. */
export type OneOfEach = Readonly<Record<string, string>>

/**
 * Makes one of everything that there can be in the organization of the development owner: through
 * the graph, as a tenant would, and waits until it is there to be seen.
 */
export async function makeOneOfEach(berth: TestPlatform): Promise<OneOfEach> {
  const [owner, operator] = await Promise.all([berth.graph('admin'), berth.graph('operator')])
  const { viewer } = await owner.get<Viewer>(
    '{ viewer { user { id } organization { id } membership { id } } }',
  )
  const sshKey = await story.addSshKey(owner, newSshKeyPair().publicKey)
  const { apiKey, invitation } = await owner.get<Offered>(`mutation {
    apiKey: apiKeyCreate(input: { name: "robot", scopes: ["inbox:read"] }) { apiKey { id } }
    invitation: invitationCreate(input: { role: VIEWER, note: "for Ada" }) { invitation { id } }
  }`)
  const allocation = await vi.waitFor(
    () => story.createAllocation(owner, { name: 'one', gpuModel: 'a100-sxm4-80gb', gpuCount: 1 }),
    WITHIN,
  )
  const decision = refuseOnce(owner)
  const { slots } = await reached(owner, allocation.id, 'RUNNING')
  const { terminalSession } = await story.openTerminal(owner, allocation.id)
  const seen = await vi.waitFor(() => read(owner, operator), WITHIN)
  return {
    ...seen,
    Allocation: allocation.id,
    ApiKey: apiKey.apiKey.id,
    Invitation: invitation.invitation.id,
    Membership: viewer.membership.id,
    Organization: viewer.organization.id,
    OrganizationStanding: viewer.organization.id,
    PersonStanding: viewer.user.id,
    PolicyDecision: await decision,
    Session: await signInAtBrowser(berth),
    Slot: slots[0]?.id ?? '',
    SshKey: sshKey,
    TerminalSession: terminalSession.id,
    User: viewer.user.id,
  }
}

type Viewer = {
  viewer: { user: { id: string }; organization: { id: string }; membership: { id: string } }
}
type Offered = { apiKey: { apiKey: { id: string } }; invitation: { invitation: { id: string } } }

/** What comes by itself of an allocation that runs. @throws while it is not all there yet */
async function read(owner: GraphClient, operator: GraphClient): Promise<OneOfEach> {
  const own = await owner.get<Record<string, { nodes: Record<string, unknown>[] }>>(`{
    AllocationEvent: allocations { nodes { events { id } } }
    AuditEvent: auditEvents { nodes { id } }
    LedgerEntry: ledgerEntries { nodes { id } }
    Notification: inbox { nodes { id } }
    Offer: offers { nodes { id gpuModel { code } region { code } } }
    UsageRecord: usageRecords { nodes { id } }
  }`)
  const { nodes } = await operator.get<{
    nodes: { nodes: { id: string; lastProbe: { id: string } }[] }
  }>('{ nodes { nodes { id lastProbe { id } } } }')
  const first = <T = { id: string }>(of: string) => own[of]?.nodes[0] as T
  const offer = first<Record<'gpuModel' | 'region', { code: string }> & { id: string }>('Offer')
  const [event] = first<{ events: { id: string }[] }>('AllocationEvent').events
  return {
    AllocationEvent: String(event?.id),
    AuditEvent: first('AuditEvent').id,
    GpuModel: offer.gpuModel.code,
    LedgerEntry: first('LedgerEntry').id,
    Node: String(nodes.nodes[0]?.id),
    Notification: first('Notification').id,
    Offer: offer.id,
    Probe: String(nodes.nodes[0]?.lastProbe.id),
    Region: offer.region.code,
    UsageRecord: first('UsageRecord').id,
  }
}

/** What rules refuse that depend on a fact is always in the log of decisions. */
async function refuseOnce(owner: GraphClient): Promise<string> {
  const value =
    'forbid(principal, action == Action::"allocation:create", resource) when { context.gpuCount > 15 };'
  await owner.get(
    'mutation Rule($input: PolicySetInput!) { policySet(input: $input) { version } }',
    {
      input: {
        key: 'authz.rules',
        level: 'ORGANIZATION',
        value,
        expectedVersion: 0,
        reason: 'a cap',
      },
    },
  )
  return await vi.waitFor(async () => {
    const input = { name: 'too many', gpuModel: 'a100-sxm4-80gb', gpuCount: 16 }
    const { errors } = await owner.ask(story.CREATE, { input }, `"${crypto.randomUUID()}"`)
    expect(errors[0]?.extensions?.code).toBe('FORBIDDEN')
    const { policyDecisions } = await owner.get<{ policyDecisions: { nodes: { id: string }[] } }>(
      '{ policyDecisions(isGranted: false) { nodes { id } } }',
    )
    return policyDecisions.nodes[0]!.id
  }, WITHIN)
}

async function signInAtBrowser(berth: TestPlatform): Promise<string> {
  const gateway = String(berth.platform.urls.gateway)
  const browser = createBrowser()
  await browser.ask(await signInUpToCallback(browser, gateway, 'admin'))
  const page = await browser.ask(`${gateway}/auth/session`)
  return (JSON.parse(page.text) as { session: { id: string } }).session.id
}
