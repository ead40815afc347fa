import { newId } from '@berth/platform/ids'
import type { ActionName } from '@berth/schema/actions'
import { describe, expect, test } from 'vitest'
import { decide, grantsOf, type Rules } from './decide.ts'
import type { CallerAuthority, Facts, PolicyEngine } from './port.ts'

/** The rules of the cases below, in an engine's language. */
export type RuleTexts = {
  readonly permitEverything: string
  readonly forbidEverything: string
  /** `forbid` to create allocations. */
  readonly freeze: string
  /** `forbid` to create with more than one GPU. */
  readonly capGpus: string
  /** `permit` members to create with up to two GPUs. */
  readonly permitFewGpus: string
  /** `permit` viewers to open terminals. */
  readonly viewersMayOpenTerminals: string
  /** `forbid` viewers to open terminals. */
  readonly viewersMayNotOpenTerminals: string
  /** `forbid` API keys to do anything with billing. */
  readonly noBillingForKeys: string
  /** `forbid` everything to the callers of this organization. */
  readonly forbidOrganization: (id: string) => string
  /** `permit` viewers to read invoices, by a rule that cannot be evaluated. */
  readonly failing: string
  readonly unreadable: string
  /** Well formed, with an unknown name in its second line. */
  readonly unknownInLine2: string
}

const one = { gpuModel: 'h100-sxm5-80gb', gpuCount: 1, region: 'any' }
const two = { ...one, gpuCount: 2 }
const three = { ...one, gpuCount: 3 }

const roles = {
  owner: ['allocation:*', 'terminal:*', 'billing:*', 'organization:*', 'policy:*'],
  member: ['allocation:read'],
  viewer: ['allocation:read', 'billing:read'],
  'platform:operator': ['node:*', 'platform:*'],
}

/** What every engine must hold. */
export function testPolicyEngine(
  name: string,
  open: () => PolicyEngine | Promise<PolicyEngine>,
  texts: RuleTexts,
): void {
  describe(name, () => {
    const organizationId = newId('org')
    const rulesOf = (organization = '', platform = ''): Rules => ({ roles, platform, organization })
    const caller = (...held: string[]): CallerAuthority => ({
      kind: 'person',
      organizationId,
      roles: held,
    })

    async function may(
      rules: Rules,
      authority: CallerAuthority,
      action: ActionName,
      facts: Facts = {},
    ): Promise<boolean> {
      const engine = await open()
      const { isGranted } = await decide(engine, rules, { authority, action, facts })
      // What was told of all facts holds for these.
      const { granted, dependent } = await grantsOf(engine, rules, authority)
      if (!dependent.includes(action)) expect(granted.includes(action)).toBe(isGranted)
      return isGranted
    }

    test('roles are granted what is theirs and nothing else', async () => {
      expect(await may(rulesOf(), caller('owner'), 'allocation:create', two)).toBe(true)
      expect(await may(rulesOf(), caller('viewer'), 'allocation:create', two)).toBe(false)
      expect(await may(rulesOf(), caller('viewer', 'member'), 'billing:read')).toBe(true)
      expect(await may(rulesOf(), caller('owner'), 'node:manage')).toBe(false)
      expect(await may(rulesOf(), caller('platform:operator'), 'node:manage')).toBe(true)
      expect(await may(rulesOf(), caller(), 'allocation:read')).toBe(false)
    })

    test('a service holds no role', async () => {
      const service = { ...caller('owner'), kind: 'service' } as const
      expect(await may(rulesOf(), service, 'allocation:read')).toBe(false)
      expect(await may(rulesOf(texts.viewersMayOpenTerminals), service, 'terminal:open')).toBe(
        false,
      )
    })

    test('a platform forbid holds for all, and no organization’s permit undoes it', async () => {
      const rules = rulesOf(texts.permitEverything, texts.freeze)
      expect(await may(rules, caller('owner'), 'allocation:create', one)).toBe(false)
      expect(await may(rules, caller('owner'), 'allocation:read')).toBe(true)
    })

    test('a platform forbid of some holds for them, though the owner may', async () => {
      const allowed = [texts.permitEverything, texts.viewersMayOpenTerminals]
      for (const rules of allowed.map((it) => rulesOf(it, texts.viewersMayNotOpenTerminals))) {
        expect(await may(rules, caller('viewer'), 'terminal:open')).toBe(false)
        expect(await may(rules, caller('viewer', 'owner'), 'terminal:open')).toBe(false)
        expect(await may(rules, caller('owner'), 'terminal:open')).toBe(true)
      }
    })

    test('an organization’s forbid holds for its owner', async () => {
      const rules = rulesOf(texts.freeze)
      expect(await may(rules, caller('owner'), 'allocation:create', one)).toBe(false)
      expect(await may(rulesOf(), caller('owner'), 'allocation:create', one)).toBe(true)
    })

    test('permitting everything gives everybody an owner’s, and no more', async () => {
      const engine = await open()
      const rules = rulesOf(texts.permitEverything)
      const owner = await grantsOf(engine, rulesOf(), caller('owner'))
      const viewer = await grantsOf(engine, rules, caller('viewer'))
      expect([...viewer.granted, ...viewer.dependent].sort()).toEqual([...owner.granted].sort())
      for (const action of ['node:manage', 'platform:policies', 'platform:suspend'] as const) {
        expect(await may(rules, caller('owner'), action)).toBe(false)
      }
    })

    test('permitting everything gives nothing to who acts for no organization', async () => {
      const rules = rulesOf(texts.permitEverything)
      const nobody = { kind: 'person', organizationId: null, roles: [] } as const
      expect(await may(rules, nobody, 'allocation:read')).toBe(false)
      const anonymous = { kind: 'anonymous', organizationId, roles: ['owner'] } as const
      expect(await may(rules, anonymous, 'allocation:read')).toBe(false)
      expect(await may(rulesOf('', texts.permitEverything), anonymous, 'inbox:read')).toBe(false)
    })

    test('a permit beyond the owner’s is none, also when the platform takes it from owners', async () => {
      const rules = { ...rulesOf(texts.viewersMayOpenTerminals), roles: { owner: [] } }
      expect(await may(rules, caller('viewer'), 'terminal:open')).toBe(false)
      const permitted = rulesOf(texts.viewersMayOpenTerminals)
      expect(await may(permitted, caller('viewer'), 'terminal:open')).toBe(true)
      expect(await may(permitted, caller('member'), 'terminal:open')).toBe(false)
    })

    test.each(['organization', 'platform'] as const)(
      'a cap of the %s’s is decided by the facts',
      async (level) => {
        const rules = level === 'platform' ? rulesOf('', texts.capGpus) : rulesOf(texts.capGpus)
        expect(await may(rules, caller('owner'), 'allocation:create', one)).toBe(true)
        expect(await may(rules, caller('owner'), 'allocation:create', two)).toBe(false)
        const engine = await open()
        const owner = await grantsOf(engine, rules, caller('owner'))
        expect(owner.dependent).toEqual(['allocation:create'])
        const viewer = await grantsOf(engine, rules, caller('viewer'))
        expect(viewer.granted, 'nobody is granted by a forbid').not.toContain('allocation:create')
      },
    )

    test('a permit may depend on the facts, under a cap of the platform’s', async () => {
      const rules = rulesOf(texts.permitFewGpus)
      expect(await may(rules, caller('member'), 'allocation:create', two)).toBe(true)
      expect(await may(rules, caller('member'), 'allocation:create', three)).toBe(false)
      expect(await may(rules, caller('viewer'), 'allocation:create', one)).toBe(false)
      const capped = rulesOf(texts.permitFewGpus, texts.capGpus)
      expect(await may(capped, caller('member'), 'allocation:create', one)).toBe(true)
      expect(await may(capped, caller('member'), 'allocation:create', two)).toBe(false)
    })

    test('rules tell keys from people, and one organization from another', async () => {
      const key = { ...caller('owner'), kind: 'api-key' } as const
      expect(await may(rulesOf(texts.noBillingForKeys), key, 'billing:read')).toBe(false)
      expect(await may(rulesOf(texts.noBillingForKeys), caller('owner'), 'billing:read')).toBe(true)
      const rules = rulesOf('', texts.forbidOrganization(organizationId))
      expect(await may(rules, caller('owner'), 'allocation:read')).toBe(false)
      const other = { ...caller('owner'), organizationId: newId('org') }
      expect(await may(rules, other, 'allocation:read')).toBe(true)
    })

    test('a rule that fails is a no, of whichever level, and grants nothing to others', async () => {
      const both = [rulesOf(texts.failing), rulesOf('', texts.failing)]
      for (const rules of [...both, rulesOf(texts.unreadable), rulesOf('', texts.unreadable)]) {
        expect(await may(rules, caller('viewer'), 'billing:read')).toBe(false)
        expect(await may(rules, caller('viewer'), 'organization:manage')).toBe(false)
      }
    })

    test('who sets rules can always set others: nobody locks themselves out', async () => {
      for (const text of [texts.forbidEverything, texts.unreadable]) {
        expect(await may(rulesOf(text), caller('owner'), 'policy:manage')).toBe(true)
        expect(await may(rulesOf(text), caller('viewer'), 'policy:manage')).toBe(false)
        expect(await may(rulesOf(text), caller('owner'), 'allocation:read')).toBe(false)
        const rules = rulesOf('', text)
        expect(await may(rules, caller('platform:operator'), 'platform:policies')).toBe(true)
        expect(await may(rules, caller('platform:operator'), 'node:read')).toBe(false)
        expect(await may(rules, caller('owner'), 'policy:manage')).toBe(false)
        expect(await may(rules, caller('owner'), 'platform:policies')).toBe(false)
      }
    })

    test('what is done to the platform is no organization’s to forbid', async () => {
      const operator = caller('platform:operator')
      expect(await may(rulesOf(texts.forbidEverything), operator, 'node:manage')).toBe(true)
      expect(await may(rulesOf(texts.unreadable), operator, 'platform:suspend')).toBe(true)
      expect(await may(rulesOf('', texts.forbidEverything), operator, 'node:manage')).toBe(false)
    })

    test('good rules are valid, and what is wrong with others is told by line', async () => {
      const engine = await open()
      const { forbidOrganization, failing: _, unreadable, unknownInLine2, ...good } = texts
      for (const text of [...Object.values(good), forbidOrganization(organizationId), '', '\n']) {
        expect(await engine.validate(text, 'ORGANIZATION')).toEqual([])
      }
      expect((await engine.validate(unreadable, 'ORGANIZATION')).join()).toMatch(/line 1/)
      expect((await engine.validate(unknownInLine2, 'PLATFORM')).join()).toMatch(/line 2, column/)
      const [tooLong] = await engine.validate(' '.repeat(16_001), 'ORGANIZATION')
      expect(tooLong).toMatch(/at most 16000 characters/)
    })

    test('the rules of many organizations hold beside each other, each for its own', async () => {
      const engine = await open()
      const organizations = Array.from({ length: 20 }, (_, i) => {
        const rules = rulesOf(texts.freeze + '\n'.repeat(i + 1))
        return {
          rules: i % 2 === 0 ? rules : rulesOf('\n'.repeat(i + 1) + texts.capGpus),
          isFrozen: i % 2 === 0,
        }
      })
      for (const round of [1, 2]) {
        const answers = await Promise.all(
          organizations.map(({ rules }) =>
            decide(engine, rules, {
              authority: caller('owner'),
              action: 'allocation:create',
              facts: one,
            }),
          ),
        )
        const granted = answers.map(({ isGranted }) => isGranted)
        expect(granted, `round ${round}`).toEqual(organizations.map(({ isFrozen }) => !isFrozen))
      }
    })
  })
}
