/** Something about the single case that a service asks about. */
export type Fact = { readonly type: 'string' | 'long' | 'boolean'; readonly description: string }

export type Action = {
  readonly description: string
  /**
   * `tenant`: done within an organization, whose own rules may permit it to others of its members.
   * `platform`: what the platform alone permits.
   */
  readonly scope: 'tenant' | 'platform'
  /** To what it is done: an entity of the graph, or the platform itself. */
  readonly on: string
  /** What the decision may depend on beyond who asks: told by whoever asks, each time, all of them. */
  readonly facts?: Readonly<Record<string, Fact>>
}

/** Every action that anybody may be permitted; whatever is none of them is refused. */
export const actions = {
  'allocation:read': tenant(
    'Allocation',
    'See allocations, what happened to them and their login.',
  ),
  'allocation:create': {
    ...tenant('Allocation', 'Rent GPUs.'),
    facts: {
      gpuModel: { type: 'string', description: 'The code of the GPU model.' },
      gpuCount: { type: 'long', description: 'How many GPUs, 1 to 16.' },
      region: {
        type: 'string',
        description: 'The code of the region; `any` when it is left to Berth.',
      },
    },
  },
  'allocation:release': tenant('Allocation', 'Give allocations back.'),
  'terminal:open': tenant('Allocation', 'Open a terminal on an allocation.'),
  'sshkey:manage': tenant('User', 'See, add and remove one’s own SSH keys.'),
  'billing:read': tenant('Organization', 'See the balance, usage and ledger.'),
  'inbox:read': tenant('User', 'See one’s own inbox, and mark what is in it.'),
  'organization:read': tenant('Organization', 'See the organization.'),
  'organization:members': tenant('Organization', 'See who belongs to it.'),
  'organization:invite': tenant('Organization', 'Invite people, and take invitations back.'),
  'organization:manage': tenant('Organization', 'Change the roles of members, and remove them.'),
  'organization:keys': tenant('Organization', 'See, make, rotate and revoke API keys.'),
  'organization:audit': tenant('Organization', 'See and export what was done in it.'),
  'policy:read': tenant('Organization', 'See its policies, and what was decided by them.'),
  'policy:manage': tenant('Organization', 'Change its policies.'),
  'node:read': platform('Node', 'See nodes and probes.'),
  'node:manage': platform('Node', 'Enroll, probe, cordon and restore nodes.'),
  'platform:policies': platform('Platform', 'Change the policies of the platform.'),
  'platform:decisions': platform('Platform', 'See what was decided, everywhere.'),
  'platform:audit': platform('Platform', 'See and export what was done, everywhere.'),
  'platform:suspend': platform('Platform', 'Suspend people and organizations.'),
  'platform:signing-keys': platform('Platform', 'Deny keys that tokens are signed with.'),
} as const satisfies Record<string, Action>

export type ActionName = keyof typeof actions

export const actionNames = Object.keys(actions) as readonly ActionName[]

export function isAction(name: string): name is ActionName {
  return Object.hasOwn(actions, name)
}

export function factsOf(name: ActionName): Readonly<Record<string, Fact>> {
  return (actions[name] as Action).facts ?? {}
}

function tenant<O extends string>(on: O, description: string) {
  return { on, description, scope: 'tenant' } as const
}

function platform<O extends string>(on: O, description: string) {
  return { on, description, scope: 'platform' } as const
}
