import type { OrganizationRole } from '@berth/schema/events/policy'

const RANKS: Readonly<Record<OrganizationRole, number>> = {
  OWNER: 4,
  ADMIN: 3,
  MEMBER: 2,
  BILLING: 2,
  VIEWER: 1,
}

/** Whether one of the first role may give and take the second: nobody reaches above themselves. */
export function reaches(own: OrganizationRole, other: OrganizationRole): boolean {
  return RANKS[own] >= RANKS[other]
}

/** Whether something is taken away by the change of a role, though something may be given, too. */
export function isLowered(from: OrganizationRole, to: OrganizationRole): boolean {
  return from !== to && RANKS[from] >= RANKS[to]
}
