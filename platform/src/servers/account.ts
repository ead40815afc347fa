import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import { SetupError } from './setup-error.ts'

/** The account a program runs as when Berth is run as root. */
export type Account = { readonly uid: number; readonly gid: number }

const SERVERS = 'berth'
/** Another one: what tenants run on the development node must not reach the servers' files. */
const NODE = 'berth-node'

/**
 * The account for servers: `undefined` (the invoking user) unless that user is root, which
 * Postgres refuses to run as.
 */
export function serverAccount(): Account | undefined {
  return accountNamed(SERVERS)
}

/** The account of the development node, and so of everyone who logs in there. */
export function nodeAccount(): Account | undefined {
  return accountNamed(NODE)
}

/** The name to log in to the development node by. */
export function nodeAccountName(): string {
  return process.getuid?.() === 0 ? NODE : os.userInfo().username
}

function accountNamed(name: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  return lookUp(name) ?? create(name)
}

/** Makes a directory that only the account (or the invoking user) may read. */
export function privateDirectory(directory: string, account: Account | undefined): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (account) chownSync(directory, account.uid, account.gid)
}

/** Makes a directory that everyone may enter, whatever the umask. */
export function sharedDirectory(directory: string): void {
  const made = mkdirSync(directory, { recursive: true })
  if (made) chmodSync(made, 0o755)
  if (made) chmodSync(directory, 0o755)
}

/** @throws {SetupError} when the account cannot enter the directory, as under a 0700 home. */
export function assertReachable(directory: string, account: Account | undefined): void {
  if (account && !mayEnter(directory, account))
    throw new SetupError(
      `${directory} cannot be entered by the account of user id ${account.uid}, which it is for: set BERTH_HOME to a directory that everyone may enter`,
    )
}

/** Whether the account can run the program. */
export function mayRun(file: string, account: Account | undefined): boolean {
  return !account || mayEnter(file, account)
}

function mayEnter(target: string, account: Account): boolean {
  try {
    execFileSync('test', ['-x', target], { ...account, cwd: '/', stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function lookUp(name: string): Account | undefined {
  const id = (flag: string) =>
    Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())
  try {
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    return undefined
  }
}

function create(name: string): Account {
  const how = `create it (useradd --system ${name}), or run Berth as an ordinary user`
  if (process.platform !== 'linux')
    throw new SetupError(`Servers do not run as root and there is no account ${name}: ${how}`)
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`
  const options = { stdio: 'ignore', env: { ...process.env, PATH: path } } as const
  // A home that exists, and a shell: the development node's sessions begin in them.
  const home = ['--home-dir', '/', '--no-create-home', '--shell', '/bin/sh']
  const make = ['--system', '--user-group', ...home, name]
  try {
    execFileSync('useradd', make, options)
  } catch {
    // Either another start made it just now, or there is no useradd.
  }
  const account = lookUp(name)
  if (!account)
    throw new SetupError(`Servers do not run as root and ${name} could not be made: ${how}`)
  return account
}
