import { spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type Account, assertReachable } from '@berth/platform/servers/account'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { endTree, runs } from './processes.ts'
import { sshdConfig } from './sshd-config.ts'

/** Public keys of the two certificate authorities: `ssh-ed25519 AAAA…`. */
export type Authorities = { user: string; node: string }

export type NodeOptions = {
  /** Kept between starts: host key, accounts, homes. Absolute, and open to the account. */
  directory: string
  /** What principals name: `admin@<name>`, `<allocation id>@<name>`. */
  name: string
  host: string
  port: number
  sshd: { path: string; libraryPath?: string | undefined }
  /** Who sshd runs as, when that is not who runs this. */
  account?: Account | undefined
}

export type DevelopmentNode = {
  /** Written anew, and obeyed from the next login on. */
  trust(authorities: Authorities): void
  /** Settles when sshd has ended without being asked to. */
  readonly died: Promise<Error>
  /** Ends sshd and every session. */
  stop(): Promise<void>
}

const START_TIMEOUT_MS = 10_000

/**
 * Starts a GPU node for development and tests: OpenSSH's own sshd, without privileges, which
 * believes certificates as a real node does. One that an earlier start left running is replaced.
 */
export async function startNode(
  options: NodeOptions & { authorities: Authorities },
): Promise<DevelopmentNode> {
  const { directory, sshd, account, host, port } = options
  const files = nodeFiles(options)
  files.prepare()
  files.trust(options.authorities)
  await endOrphan(directory)
  assertReachable(directory, account)

  const child = spawn(sshd.path, ['-D', '-e', '-f', files.path('sshd_config')], {
    ...(account && { uid: account.uid, gid: terminalGroup() ?? account.gid }),
    cwd: directory,
    env: sshd.libraryPath ? { LD_LIBRARY_PATH: sshd.libraryPath } : {},
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let words = ''
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk).slice(-4_000)
  })
  let isStopping = false
  const ended = new Promise<void>((done) => {
    child.once('error', () => done())
    child.once('exit', () => done())
  })
  const died = ended.then(() =>
    isStopping ? new Promise<never>(() => {}) : new Error(`sshd has ended: ${words}`),
  )
  await Promise.race([answers(host, port), died.then((error) => Promise.reject(error))])
  return {
    trust: files.trust,
    died,
    async stop() {
      isStopping = true
      if (child.pid !== undefined && child.exitCode === null) await endTree(child.pid, directory)
      await ended
    },
  }
}

/** The files that sshd reads, under one directory, owned by the account it runs as. */
function nodeFiles({ directory, name, host, port, sshd, account }: NodeOptions) {
  const path = (file: string) => join(directory, file)
  const own = (file: string) => account && chownSync(file, account.uid, account.gid)

  function write(file: string, text: string, mode = 0o600) {
    writeFileSync(path(`${file}.new`), text, { mode })
    own(path(`${file}.new`))
    renameSync(path(`${file}.new`), path(file))
  }
  const read = (file: string): string | undefined => {
    try {
      return readFileSync(path(file), 'utf8')
    } catch {
      return undefined
    }
  }
  function prepare() {
    for (const folder of ['', 'bin']) {
      mkdirSync(path(folder), { recursive: true, mode: 0o700 })
      own(path(folder))
    }
    // Copied, since the account may not enter the folder that this code is in.
    for (const [from, to] of [
      ['bin/nvidia-smi', 'bin/nvidia-smi'],
      ['gpu.xml', 'gpu.xml'],
    ] as const) {
      cpSync(join(import.meta.dirname, from), path(to))
      chmodSync(path(to), 0o755)
      own(path(to))
    }
    if (read('host_key') === undefined) write('host_key', newSshKeyPair().privateKey)
    if (read('authorized_principals') === undefined) write('authorized_principals', '')
    write('sshd_config', sshdConfig({ directory, host, port, sshdPath: sshd.path }))
  }
  function trust({ user, node }: Authorities) {
    write('user_authority.pub', `${user}\n`)
    // The node authority is trusted for administration alone: the list of principals that the user
    // authority may name does not hold it, and this line holds no other.
    const mark = 'berth:node-authority'
    const line = `cert-authority,restrict,principals="admin@${name}" ${node} ${mark}`
    const before = read('authorized_keys') ?? ''
    const kept = before.split('\n').filter((it) => it !== '' && !it.endsWith(` ${mark}`))
    // Drivers change the file too, under a lock that is not ours: it is left alone unless it must not be.
    const after = `${[line, ...kept].join('\n')}\n`
    if (after !== before) write('authorized_keys', after)
  }
  return { path, prepare, trust }
}

/**
 * sshd gives every terminal to the group `tty`. Where /dev/pts is mounted without that group, as in
 * some containers, an sshd that is neither root nor of the group ends the connection instead.
 */
function terminalGroup(): number | undefined {
  try {
    const mounted = /^\S+ \/dev\/pts devpts (\S+)/m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1]
    if (mounted === undefined || /\bgid=/.test(mounted)) return undefined
    const gid = /^tty:[^:]*:(\d+)/m.exec(readFileSync('/etc/group', 'utf8'))?.[1]
    return gid === undefined ? undefined : Number(gid)
  } catch {
    return undefined
  }
}

/** Whether an sshd that this process starts can give terminals; commands it can run all the same. */
export function givesTerminals(): boolean {
  const group = terminalGroup()
  return group === undefined || process.getuid?.() === 0 || process.getgroups!().includes(group)
}

/** After kill -9 of what started it, sshd runs on and holds the port. */
async function endOrphan(directory: string): Promise<void> {
  let pid: number
  try {
    pid = Number(readFileSync(join(directory, 'sshd.pid'), 'utf8'))
  } catch {
    return
  }
  if (pid > 1 && runs(pid, join(directory, 'sshd_config'))) await endTree(pid, directory)
}

async function answers(host: string, port: number): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  while (!(await accepts(host, port))) {
    if (Date.now() > deadline) throw new Error('sshd does not answer')
    await new Promise((done) => setTimeout(done, 20))
  }
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, host)
    socket.once('data', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}
