import { type Actor, actorToClaims, createActor, subjectOf } from '@berth/platform/actor'

/**
 * A person, as whoever presents this credential: the same object for the same person, so that what is
 * kept by it is found.
 */
export function createPresenter(credential: string): (person: Actor) => Actor {
  let last: { person: Actor; actor: Actor } | undefined
  return (person) => {
    if (last?.person !== person) {
      const { kind, organizationId, roles, scopes } = person
      const actor = createActor({
        kind,
        subject: subjectOf(person),
        organizationId,
        roles,
        scopes,
        credential,
      })
      // Policy was asked again and said the same: nothing changed for whoever keeps the actor.
      const isSame = last && isEqual(last.actor, actor)
      last = { person, actor: isSame && last ? last.actor : actor }
    }
    return last.actor
  }
}

/** Whether they are the same person with the same roles and the rest. */
export function isEqual(one: Actor, other: Actor): boolean {
  return (
    one === other || JSON.stringify(actorToClaims(one)) === JSON.stringify(actorToClaims(other))
  )
}
