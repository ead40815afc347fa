import { expect, test } from 'vitest'
import { createRing, type Ring } from './ring.ts'
import type { Member } from './splice.ts'
import * as splice from './splice.ts'

/**
 * One member, an owner and two groups on its stream, explored through every interleaving of a small
 * world: events are the owner's 1…n, a position says how many there were. A group and the private
 * reading each receive them as late as can be, and lose what is in flight; a group that lost its
 * upstream before it was told where it begins, begins anew.
 */
type World = {
  /** Events that the owner has. */
  owner: number
  groups: Group[]
  /** The group that the member is in, or was, when it is held. */
  at: number
  member: Member | null
  /** Position of the private reading; null while there is none. */
  reading: number | null
  /** The last event that the client got; -1 before the first of one that joined with the next. */
  got: number
  /** What may still happen to the member, or no world would be small. */
  doubts: number
  moves: number
}

/** `began`: null while its upstream is not accepted; `isTold` when it has been told where it begins. */
type Group = { began: number | null; isTold: boolean; has: number }

type Machine = Pick<typeof splice, 'join' | 'hold' | 'leave' | 'onGroup' | 'onPrivate'>
type Size = {
  events: number
  ring: number
  passed: number
  doubts: number
  moves: number
  /** Whether the owner says where a stream begins, before its first event. */
  tells?: boolean
}

const small: Size = { events: 4, ring: 1, passed: 2, doubts: 2, moves: 1 }

test.each<[string, Size]>([
  ['a ring of one', { events: 4, ring: 1, passed: 1, doubts: 1, moves: 1 }],
  ['a ring of two', { events: 5, ring: 2, passed: 2, doubts: 1, moves: 0 }],
  ['many doubts and moves', { events: 3, ring: 1, passed: 1, doubts: 3, moves: 3 }],
  ['a long memory of what was passed', { events: 4, ring: 1, passed: 9, doubts: 2, moves: 2 }],
  [
    'an owner that does not say where it begins',
    { events: 4, ring: 1, passed: 1, doubts: 2, moves: 2, tells: false },
  ],
])('with %s nothing is missing, nothing comes twice, and all ends live', (_what, size) => {
  const { states, problems } = explore(size, splice)
  expect(problems).toEqual([])
  expect(states).toBeGreaterThan(10_000)
})

test.each<[string, Partial<Machine>, RegExp]>([
  [
    'a member that is live does not note where it is held',
    { hold: (member) => Object.assign(member, { mode: 'held', passed: [] }) },
    /twice|missing/,
  ],
  ['a member keeps its index when it changes groups', { leave: () => undefined }, /twice|missing/],
  [
    'a member goes live when the group tells what it has, and does not wait for what it has last',
    {
      onGroup: (member, ring) => {
        splice.onGroup(member, ring)
        if (member.mode === 'ahead') Object.assign(member, { mode: 'live', next: ring.end })
      },
    },
    /twice/,
  ],
  [
    'a member that begins to read ahead of its group never notices that the group meets it',
    {
      onGroup: (member, ring) => {
        if (member.mode !== 'behind') splice.onGroup(member, ring)
      },
    },
    /never live/,
  ],
  [
    'an output of the private reading moves nothing',
    { onPrivate: (member, _position, ring) => splice.onGroup(member, ring) },
    /twice|never live/,
  ],
])('the exploration finds it when %s', (_what, mutation, problem) => {
  const { problems } = explore(small, { ...splice, ...mutation })
  expect(problems.join()).toMatch(problem)
})

/** All worlds that can be reached; of each, that the client's sequence is whole and can end live. */
function explore(size: Size, machine: Machine): { states: number; problems: string[] } {
  const first: World = {
    owner: 0,
    groups: [begun(null), begun(null)],
    at: 0,
    member: null,
    reading: null,
    got: -1,
    doubts: size.doubts,
    moves: size.moves,
  }
  const seen = new Map<string, boolean>()
  const problems = new Set<string>()
  const queue: World[] = [first]
  seen.set(keyOf(first), true)
  for (let at = 0; at < queue.length && problems.size === 0; at++) {
    const world = queue[at] as World
    for (const next of [...happenings(world, size, machine), ...progress(world, size, machine)]) {
      if (typeof next === 'string') {
        problems.add(`${next}: ${keyOf(world)}`)
        continue
      }
      const key = keyOf(next)
      if (seen.has(key)) continue
      seen.set(key, true)
      queue.push(next)
    }
  }
  // When nothing bad happens any more, all that can still happen ends with a member that is live.
  const settled = new Set<string>()
  for (const world of queue) {
    if (problems.size > 0) break
    if (world.member && world.member.mode !== 'held') settle(world)
  }
  return { states: queue.length, problems: [...problems] }

  function settle(world: World): void {
    const stack = [world]
    for (let it = stack.pop(); it; it = stack.pop()) {
      const key = keyOf(it)
      if (settled.has(key)) continue
      settled.add(key)
      const nexts = progress(it, size, machine)
      for (const next of nexts) if (typeof next !== 'string') stack.push(next)
      if (nexts.length === 0 && !isServed(it)) problems.add(`never live: ${key}`)
    }
  }
}

function isServed(it: World): boolean {
  const isWhole = it.got === it.owner || it.got === -1
  // A group that knows no position yet is met at its first event; until then it is read privately.
  if (!isKnown(groupOf(it)) && it.member?.mode === 'behind') return isWhole && it.reading !== null
  return isWhole && it.member?.mode === 'live' && it.reading === null
}

function begun(began: number | null): Group {
  return { began, isTold: false, has: began ?? 0 }
}

type Next = World | string
/** Changes a world; a text is what went wrong. */
type Act = (it: World) => unknown

/** What a world does to a stream, in any order and as often as it may. */
function happenings(world: World, size: Size, machine: Machine): Next[] {
  const nexts: Next[] = []
  const change = (act: Act) => nexts.push(after(world, act))
  if (world.owner < size.events) change((it) => it.owner++)

  world.groups.forEach((group, i) => {
    // It lost its upstream before it knew its position.
    if (group.began !== null && !isKnown(group)) {
      change((it) => it.groups.splice(i, 1, begun(null)))
    }
  })
  const { member, at } = world
  if (!member) {
    // With the next event, or after any position that the stream has.
    for (let position = -1; position <= world.owner; position++) {
      change((it) => {
        it.member = {
          mode: 'held',
          next: -1,
          position: position < 0 ? null : nameOf(position),
          passed: [],
        }
        it.got = position
        return enter(it, size, machine)
      })
    }
    return nexts
  }
  if (world.reading !== null) {
    // The private reading is lost, and begins again where the member is.
    change((it) => {
      it.reading = numberOf(it.member?.position ?? '')
    })
  }
  if (member.mode === 'held') {
    change((it) => enter(it, size, machine))
    // It takes one of what the ring holds, and has no room for more.
    change((it) => enter(it, size, machine, 1))
    if (world.moves > 0) {
      change((it) => {
        it.moves--
        it.at = 1 - at
        machine.leave(it.member as Member)
      })
    }
  } else if (world.doubts > 0) {
    change((it) => {
      it.doubts--
      it.reading = null
      machine.hold(it.member as Member, ringOf(it.groups[at] as Group, size))
    })
  }
  return nexts
}

/** What goes on by itself, until there is nothing left to do. */
function progress(world: World, size: Size, machine: Machine): Next[] {
  const nexts: Next[] = []
  const change = (act: Act) => nexts.push(after(world, act))
  world.groups.forEach((group, i) => {
    const isMembers = world.member !== null && world.at === i
    if (group.began === null) {
      change((it) => it.groups.splice(i, 1, begun(it.owner)))
      return
    }
    if (!isKnown(group) && size.tells !== false) {
      change((it) => {
        const own = it.groups[i] as Group
        own.isTold = true
        return isMembers ? told(it, size, machine) : undefined
      })
    }
    if (group.has < world.owner && (group.isTold || size.tells === false)) {
      change((it) => {
        const own = it.groups[i] as Group
        own.has++
        if (!isMembers) return undefined
        // Who is live takes it as it comes, and is told of nothing.
        if (it.member?.mode === 'live') return take(it, own.has)
        return told(it, size, machine)
      })
    }
  })
  if (world.reading !== null && world.reading < world.owner) {
    change((it) => {
      it.reading = (it.reading ?? 0) + 1
      const problem = take(it, it.reading)
      const member = it.member as Member
      machine.onPrivate(member, nameOf(it.reading), ringOf(groupOf(it), size), size.passed)
      return problem ?? follow(it, size, machine)
    })
  }
  return nexts
}

function enter(it: World, size: Size, machine: Machine, room = 9): string | undefined {
  const member = it.member as Member
  const lost = machine.join(member, ringOf(groupOf(it), size))
  // Where nobody can say what it has had, it is told so: its stream is reset.
  if (lost > 0) return size.tells === false ? undefined : 'missing: nothing to read after'
  return follow(it, size, machine, room)
}

function told(it: World, size: Size, machine: Machine): string | undefined {
  const member = it.member as Member
  if (member.mode === 'live') return undefined
  machine.onGroup(member, ringOf(groupOf(it), size))
  return follow(it, size, machine)
}

/** As the shell does after each step: what the ring holds for who is live, a reading for who is behind. */
function follow(it: World, size: Size, machine: Machine, room = 9): string | undefined {
  const member = it.member as Member
  const ring = ringOf(groupOf(it), size)
  if (member.mode === 'behind') {
    it.reading ??= numberOf(member.position ?? '')
    return undefined
  }
  it.reading = null
  if (member.mode !== 'live') return undefined
  for (; member.next < ring.end; member.next++) {
    if (room-- === 0) {
      machine.hold(member, ring)
      return undefined
    }
    const problem = take(it, Number(ring.text(member.next)))
    if (problem) return problem
  }
  member.next = -1
  return undefined
}

function take(it: World, event: number): string | undefined {
  if (it.got >= 0 && event <= it.got) return `${event} came twice`
  if (it.got >= 0 && event > it.got + 1) return `${it.got + 1} is missing`
  it.got = event
  return undefined
}

function after(world: World, act: Act): Next {
  const { groups, member } = world
  const copy = {
    ...world,
    groups: groups.map((it) => ({ ...it })),
    member: member && { ...member, passed: [...member.passed] },
  }
  const problem = act(copy)
  return typeof problem === 'string' ? problem : copy
}

/** Its ring, by the code that a group has. */
function ringOf(group: Group, { ring: maxItems }: Size): Ring {
  const ring = createRing({ maxItems, maxBytes: 1_000 })
  if (group.began === null) return ring
  if (group.isTold) ring.beginAt(nameOf(group.began))
  for (let n = group.began + 1; n <= group.has; n++) ring.push(nameOf(n), String(n))
  return ring
}

function isKnown({ began, isTold, has }: Group): boolean {
  return isTold || (began !== null && has > began)
}

function groupOf(it: World): Group {
  return it.groups[it.at] as Group
}

function nameOf(position: number): string {
  return `c${position}`
}

function numberOf(name: string): number {
  return Number(name.slice(1))
}

function keyOf(world: World): string {
  return JSON.stringify(world)
}
