import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createDialGuard } from '@berth/platform/dial-guard'
import { newId } from '@berth/platform/ids'
import { connectSsh, type SshConnection } from '@berth/platform/ssh'
import { newSshKeyPair, type SshKeyPair } from '@berth/platform/ssh-certificate'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from './eventually.ts'
import { nodeAccounts, script } from './node-account.ts'
import { openTestNode, type TestNode } from './test-node.ts'

let node: TestNode
let admin: SshConnection
beforeAll(async () => {
  node = await openTestNode()
  admin = await node.login('node', `admin@${node.name}`)
})
afterAll(async () => {
  admin?.close()
  await node?.remove()
})

const options = { timeoutSeconds: 10, maxBytes: 100_000 }
const accounts = () => nodeAccounts(admin)
const create = (allocationId: string, publicKeys: string[] = [], gpuIndexes = [0]) =>
  accounts().create({ allocationId, nodeName: node.name, gpuIndexes, publicKeys })
const keysFile = () => readFileSync(`${node.directory}/authorized_keys`, 'utf8')

/** As the renter: with the key whose public half was given to `create`. */
function loginWithKey(key: SshKeyPair): Promise<SshConnection> {
  const guard = createDialGuard({
    allowedCidrs: [],
    exceptions: [`${node.host}:${node.port}`],
    production: false,
  })
  return connectSsh({
    target: { host: node.host, port: node.port, dial: guard.connect },
    username: node.username,
    hostKeySha256: null,
    privateKey: key.privateKey,
    timeoutSeconds: 10,
  })
}

test('an account opens to its key, confined to its home and its GPUs, and not before or after', async () => {
  const id = newId('alc')
  const key = newSshKeyPair()
  await expect(loginWithKey(key)).rejects.toMatchObject({ failure: 'REFUSED' })
  expect(await create(id, [key.publicKey], [0, 1])).toEqual({
    allocationId: id,
    state: 'present',
    gpus: [0, 1],
    keys: 1,
    processes: 0,
  })
  const ssh = await loginWithKey(key)
  const seen = await ssh.exec(
    'echo $HOME $PWD $CUDA_VISIBLE_DEVICES; nvidia-smi -L | wc -l',
    options,
  )
  const home = `${node.directory}/homes/${id}`
  expect(seen).toMatchObject({ code: 0, stdout: `${home} ${home} 0,1\n2\n` })
  expect(await accounts().clean(id)).toMatchObject({ state: 'absent', keys: 0, processes: 0 })
  await expect(loginWithKey(key)).rejects.toMatchObject({ failure: 'REFUSED' })
  // The connection that was open already gets no further session.
  expect(await ssh.exec('id', options)).toMatchObject({ code: 1, stdout: '' })
  ssh.close()
})

test('an interactive login shell finds the driver tools and stands in its home', async () => {
  const id = newId('alc')
  await create(id)
  const ssh = await node.login('user', `${id}@${node.name}`)
  const shell = await ssh.shell({ columns: 80, rows: 24, term: 'xterm-256color' })
  let output = ''
  shell.onOutput((chunk) => {
    output += chunk
  })
  shell.write(
    Buffer.from('echo at:$PWD: gpus:$CUDA_VISIBLE_DEVICES:; nvidia-smi -L; stty size; exit 5\n'),
    () => {},
  )
  expect(await shell.exited).toEqual({ code: 5, signal: null })
  expect(output).toContain(`at:${node.directory}/homes/${id}: gpus:0:`)
  expect(output).toContain('GPU 1: NVIDIA A100')
  expect(output).toContain('24 80')
  ssh.close()
  await accounts().clean(id)
})

test.each([
  ['user', (id: string) => `admin@test-${id}`],
  ['user', () => 'admin@test'],
  ['user', (id: string) => `${id}@other`],
  ['user', (id: string) => id],
  ['node', (id: string) => `${id}@test`],
  ['node', () => 'admin@other'],
] as const)(
  'the %s authority does not open what is not its own (%#)',
  async (authority, principal) => {
    const id = newId('alc')
    await create(id)
    await expect(node.login(authority, principal(id))).rejects.toMatchObject({ failure: 'REFUSED' })
    await accounts().clean(id)
  },
)

test('clean ends what the allocation started, however it hid, and nothing else', async () => {
  const [id, other] = [newId('alc'), newId('alc')]
  await create(id)
  await create(other)
  const renter = await node.login('user', `${id}@${node.name}`)
  const neighbour = await node.login('user', `${other}@${node.name}`)
  const hide = (command: string) => `${command} >/dev/null 2>&1 </dev/null &`
  await neighbour.exec(hide('sleep 1001'), options)
  const hidden = await renter.exec(
    [
      hide('nohup sleep 1002'),
      hide('setsid sleep 1003'),
      hide('env -i sleep 1004'),
      hide('setsid env -i sleep 1005'),
      hide(`sh -c 'trap "" HUP TERM; sleep 1006; sleep 1007'`),
      'mkdir deep && chmod 500 deep && echo started',
    ].join('\n'),
    options,
  )
  expect(hidden.stdout).toBe('started\n')
  const shell = await renter.shell({ columns: 80, rows: 24, term: 'xterm' })
  shell.onOutput(() => {})
  await eventually(async () => (await accounts().verify(id)).processes).toBeGreaterThanOrEqual(6)
  expect(await accounts().clean(id)).toMatchObject({ state: 'absent', processes: 0 })
  expect(await shell.exited).toMatchObject({ code: null })
  const running = () => execFileSync('ps', ['-A', '-o', 'args=']).toString()
  expect(running()).not.toMatch(/sleep 100[2-7]/)
  expect(running()).toMatch(/sleep 1001/)
  expect(await accounts().verify(other)).toMatchObject({ state: 'present', processes: 1 })
  expect(await accounts().clean(other)).toMatchObject({ state: 'absent' })
  expect(running()).not.toMatch(/sleep 1001/)
  renter.close()
  neighbour.close()
})

test('create and clean may be repeated, and replace what was there', async () => {
  const id = newId('alc')
  const [one, two] = [newSshKeyPair(), newSshKeyPair()]
  await create(id, [one.publicKey], [0])
  expect(await create(id, [two.publicKey, one.publicKey], [1])).toMatchObject({
    gpus: [1],
    keys: 2,
  })
  expect(await create(id, [two.publicKey], [1])).toMatchObject({ keys: 1 })
  expect(keysFile()).not.toContain(one.publicKey)
  for (let times = 0; times < 2; times++) {
    expect(await accounts().clean(id)).toMatchObject({ state: 'absent' })
  }
  expect(await accounts().verify(id)).toMatchObject({ state: 'absent' })
})

test('twenty changes at once leave exactly the lines that they should', async () => {
  const ids = Array.from({ length: 10 }, () => newId('alc'))
  await Promise.all(ids.map((id) => create(id, [newSshKeyPair().publicKey])))
  const kept = ids.slice(0, 5)
  const added = Array.from({ length: 5 }, () => newId('alc'))
  await Promise.all([
    ...ids.slice(5).map((id) => accounts().clean(id)),
    ...added.map((id) => create(id, [newSshKeyPair().publicKey])),
    accounts().list(),
  ])
  const listed = (await accounts().list()).map((it) => it.allocationId)
  expect(listed).toEqual([...kept, ...added].sort())
  expect(keysFile().match(/berth:alc_/g)).toHaveLength(10)
  expect(keysFile().match(/^cert-authority/gm)).toHaveLength(1)
  await Promise.all([...kept, ...added].map((id) => accounts().clean(id)))
  expect(await accounts().list()).toEqual([])
})

test.each([
  '',
  'alc_',
  `alc_${'0'.repeat(25)}`,
  `alc_${'0'.repeat(27)}`,
  `alc_${'A'.repeat(26)}`,
  `alc_${'.'.repeat(26)}`,
  `nod_${'0'.repeat(26)}`,
  `alc_${'0'.repeat(26)}/../../etc`,
  '../../etc',
])('the node itself refuses the id %j', async (id) => {
  for (const verb of ['create', 'verify', 'clean'] as const) {
    const answer = verb === 'create' ? create(id) : accounts()[verb](id)
    await expect(answer).rejects.toMatchObject({ code: 'BAD_INPUT' })
  }
})

test('the script refuses keys and names that would add words to what sshd obeys', async () => {
  const id = newId('alc')
  const key = newSshKeyPair().publicKey
  const call = (words: string, stdin: string) =>
    admin.exec('sh -s', {
      ...options,
      stdin: `${script}\nberth_create ${words} <<'END'\n${stdin}\nEND\n`,
    })
  const bad: [string, string][] = [
    [`${id} test 0`, `command="id" ${key}`],
    [`${id} test 0`, `${key} comment`],
    [`${id} test 0`, `${key}\ncert-authority ${key}`],
    [`${id} 'te st' 0`, key],
    [`${id} 'test\nroot' 0`, key],
    [`${id} test '0;id'`, key],
    [`'${id}\nx' test 0`, key],
  ]
  for (const [words, stdin] of bad) {
    expect(await call(words, stdin), `${words} ${stdin}`).toMatchObject({ code: 64 })
  }
  expect(await accounts().verify(id)).toMatchObject({ state: 'absent' })
})

test('a call that was killed while it held the lock does not stop the next', async () => {
  const id = newId('alc')
  const shell = await node.login('node', `admin@${node.name}`)
  const hang = `${script}\n(berth_begin ${id}; lock; echo held; kill -9 $(sh -c 'echo $PPID'))\n`
  expect((await shell.exec('sh -s', { ...options, stdin: hang })).stdout).toBe('held\n')
  shell.close()
  expect(await create(id)).toMatchObject({ state: 'present' })
  await accounts().clean(id)
})
