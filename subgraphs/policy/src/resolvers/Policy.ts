import { permissionAt, policyOf, schemaOf } from '../domain/policy-keys.ts'
import { ceilingOf, combine, settingsOf } from '../domain/policy-levels.ts'
import type { PolicyResolvers } from '../generated/resolvers.ts'

export const Policy: PolicyResolvers = {
  description: ({ key }) => policyOf(key).description,
  schema: ({ key }) => schemaOf(policyOf(key)),
  combination: ({ key }) => policyOf(key).combination,
  levels: ({ key }) =>
    policyOf(key).levels.map((level) => ({ level, permission: permissionAt[level] })),
  effective: ({ key, settings }) =>
    combine(policyOf(key).combination, settingsOf(settings)) ?? null,
  settings: ({ key, settings }) => {
    const { combination } = policyOf(key)
    const set = settingsOf(settings)
    return settings.map((it) => ({ ...it, ceiling: ceilingOf(combination, it.level, set) ?? null }))
  },
  history: (policy, { level, ...page }, { actor, policyViews }) =>
    policyViews.history(actor, policy, level, page),
}
