import type { Actor } from '@berth/platform/actor'
import { beyondRetention } from '@berth/platform/cursor'
import { DomainError } from '@berth/platform/errors'
import type { GatewayContext } from '../context.ts'
import type { Credentials } from '../federation/credentials.ts'
import type { Group, StreamMetrics } from './group.ts'
import type { StreamClient } from './open.ts'
import type { Operation } from './operation.ts'
import * as splice from './splice.ts'

/** What a member needs of those who know all groups. */
export type MemberHub = {
  readonly metrics: StreamMetrics
  credentialsOf(member: Member, actor: Actor): Credentials
  /** As the graph is by now. @throws {DomainError} when it is not valid any more */
  current(operation: Operation): Operation
  /** The group of these credentials, which may be new. */
  groupOf(member: Member, actor: Actor, credentials: Credentials): Group
  /** Reads for one member alone what comes after its position. */
  read(member: Member, group: Group, after: string): Reading
  left(member: Member): void
}

export type Reading = { close(): void }

/** One subscription of a client: where it stands, who it is, and how it gets from group to group. */
export class Member {
  readonly client: StreamClient
  readonly context: GatewayContext
  operation: Operation
  /** As of the last word of its standing; null while it is in doubt. */
  actor: Actor | null = null
  group: Group | null = null
  /** It had something of its stream: it is not told any more that its owner does not answer. */
  isServed = false
  readonly at: splice.Member
  readonly #hub: MemberHub
  readonly #unwatch: () => void
  #reading: Reading | null = null
  #isFull = false
  #isOver = false

  /** @throws {DomainError} when they may not ask, before anything is opened */
  constructor(hub: MemberHub, operation: Operation, context: GatewayContext, client: StreamClient) {
    this.#hub = hub
    this.operation = operation
    this.context = context
    this.client = client
    this.at = { mode: 'held', next: -1, position: operation.after, passed: [] }
    const { now } = client.standing
    if (now instanceof DomainError) throw now
    this.#unwatch = client.standing.watch((it) => this.#onStanding(it))
    hub.metrics.members.inc()
  }

  /** To be called once, when whoever opened it can take what comes. */
  start(): void {
    this.#onStanding(this.client.standing.now)
  }

  /** One output of its group, while it is live. */
  take(text: string): void {
    const { group } = this
    const { now } = this.client.standing
    // Told or not: nothing goes to one of whom it is not certain at this moment who they are.
    if (now !== this.actor) {
      this.#onStanding(now)
      if (this.at.mode !== 'live' || this.group !== group) return
    }
    this.isServed = true
    this.client.next(text)
  }

  /** Its group begins, or has one more output, and it is not live. */
  onGroup(): void {
    const { group, at } = this
    if (!group || this.#isOver) return
    const before = at.mode
    splice.onGroup(at, group.ring)
    if (at.mode !== before) this.#follow(before)
  }

  /** One output of what it reads alone. */
  onRead(position: string | null, text: string): void {
    const { group, at } = this
    if (!group || this.#isOver || at.mode !== 'behind') return
    this.isServed = true
    this.client.next(text)
    if (this.#isOver || position === null) return
    splice.onPrivate(at, position, group.ring)
    if (at.mode !== 'behind') this.#follow('behind')
    else this.#waitForRoom()
  }

  /** Its group is gone, because nobody vouched for it: it goes on by its position. */
  abandon(): void {
    this.#pause()
    this.#leave()
  }

  /** The graph has changed: it goes on in the group of what its operation is now. */
  move(operation: Operation): void {
    this.operation = operation
    this.abandon()
    if (this.actor) this.#settle(this.actor)
  }

  /** Nothing more comes, and the client is told so. */
  end(error?: unknown): void {
    if (this.#isOver) return
    this.close()
    this.client.end(error)
  }

  /** The client wants nothing more. */
  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#unwatch()
    this.#stopReading()
    this.#leave()
    this.#hub.metrics.members.dec()
    this.#hub.left(this)
  }

  #onStanding(now: Actor | null | DomainError): void {
    if (this.#isOver) return
    if (now instanceof DomainError) this.end(now)
    else if (now !== null) this.#settle(now)
    else if (this.actor !== null) {
      this.actor = null
      this.#pause()
      this.group?.count(-1)
    }
  }

  /** It is certain who they are: they stay in their group, or go on in that of who they are now. */
  #settle(actor: Actor): void {
    const { plan } = this.operation
    const credentials = this.#hub.credentialsOf(this, actor).narrow(plan.authority)
    const { group } = this
    if (group && !group.isClosing && group.credentials.sharingKey === credentials.sharingKey) {
      if (this.actor === null) group.count(1)
      this.actor = actor
      if (this.at.mode === 'held') this.#enter()
      return
    }
    if (group?.isClosing && this.at.mode !== 'held') {
      // What is still to come of it comes by its authority of before.
      this.actor = actor
      return
    }
    this.abandon()
    this.actor = actor
    try {
      this.operation = this.#hub.current(this.operation)
      this.group = this.#hub.groupOf(this, actor, credentials)
    } catch (error) {
      this.end(error)
      return
    }
    this.group.others.add(this)
    this.group.count(1)
    this.#enter()
  }

  #enter(): void {
    const { group, at } = this
    if (!group || this.actor === null || this.#isFull || this.#isOver) return
    const lost = splice.join(at, group.ring)
    if (lost > 0) {
      // It knows no position to read after: better to begin anew than to miss something unseen.
      if (this.operation.plan.durable) {
        this.end(beyondRetention())
        return
      }
      this.#hub.metrics.dropped.inc({ reason: 'held' }, lost)
    }
    this.#follow('held')
  }

  /** Does what follows from how it stands to its group now. */
  #follow(from: splice.Member['mode']): void {
    const { group, at } = this
    if (!group) return
    if (at.mode === 'behind') {
      this.#reading ??= this.#hub.read(this, group, at.position ?? '')
      return
    }
    this.#stopReading()
    if (at.mode !== 'live') return
    const { ring } = group
    while (at.next < ring.end) {
      this.isServed = true
      this.client.next(ring.text(at.next))
      if (this.#isOver) return
      at.next++
      if (at.next < ring.end && this.#waitForRoom()) return
    }
    at.next = -1
    group.others.delete(this)
    group.live.add(this)
    this.#hub.metrics.splices.inc({ from })
  }

  /** Whether it has to wait: then it is held, and goes on from where it is. */
  #waitForRoom(): boolean {
    const room = this.client.room?.()
    if (!room) return false
    this.#isFull = true
    this.#pause()
    const enter = () => {
      this.#isFull = false
      if (this.at.mode === 'held') this.#enter()
    }
    room.then(enter, enter)
    return true
  }

  #pause(): void {
    const { group, at } = this
    this.#stopReading()
    if (!group || at.mode === 'held') return
    splice.hold(at, group.ring)
    group.live.delete(this)
    group.others.add(this)
  }

  #leave(): void {
    const { group } = this
    if (!group) return
    this.group = null
    if (this.actor !== null) group.count(-1)
    splice.leave(this.at)
    group.leave(this)
  }

  #stopReading(): void {
    this.#reading?.close()
    this.#reading = null
  }
}
