import type { Client, ClientChannel } from 'ssh2'
import { SshError } from './error.ts'

export type SshShellOptions = {
  columns: number
  rows: number
  /** Terminal type, such as xterm-256color. */
  term: string
}

/** `code` is null when a signal ended it, or the connection was lost (then `signal` is null too). */
export type SshShellExit = { code: number | null; signal: string | null }

/**
 * A shell on a remote terminal. Output is held at the far end while paused: at most ssh2's receive
 * window and one refill of it (3 MiB) wait here.
 */
export type SshShell = {
  /** Called for each piece of output until the shell has exited. Set it before the next turn. */
  onOutput(listener: (chunk: Buffer, stream: 'stdout' | 'stderr') => void): void
  /** @param written called once it is on its way to the node, which takes up to 2 MiB ahead of the shell */
  write(chunk: Uint8Array, written: () => void): void
  pause(): void
  resume(): void
  resize(columns: number, rows: number): void
  /** Settles once all output has been delivered. */
  readonly exited: Promise<SshShellExit>
  /** Hangs up. */
  close(): void
}

/** @throws {SshError} CLOSED when the node refuses a terminal or a shell */
export function openShell(client: Client, options: SshShellOptions): Promise<SshShell> {
  const { columns, rows, term } = options
  return new Promise((done, fail) => {
    const onChannel = (error: Error | undefined, channel: ClientChannel) =>
      error ? fail(new SshError('CLOSED', error)) : done(asShell(channel))
    try {
      client.shell({ cols: columns, rows, term, width: 0, height: 0 }, onChannel)
    } catch (cause) {
      fail(new SshError('CLOSED', cause))
    }
  })
}

function asShell(channel: ClientChannel): SshShell {
  channel.on('error', () => {}) // Followed by close; unheard it would end the process.
  const exited = new Promise<SshShellExit>((done) => {
    channel.on('close', (code?: number | null, signal?: string) =>
      done({ code: code ?? null, signal: signal ?? null }),
    )
  })
  return {
    exited,
    onOutput(listener) {
      channel.on('data', (chunk: Buffer) => listener(chunk, 'stdout'))
      channel.stderr.on('data', (chunk: Buffer) => listener(chunk, 'stderr'))
    },
    write(chunk, written) {
      if (channel.writable) channel.write(chunk, () => written())
    },
    pause() {
      channel.pause()
      channel.stderr.pause()
    },
    resume() {
      channel.resume()
      channel.stderr.resume()
    },
    resize: (columns, rows) => channel.setWindow(rows, columns, 0, 0),
    close() {
      // A paused channel would never end; what is left unread is nobody's now.
      channel.removeAllListeners('data')
      channel.resume()
      channel.stderr.resume()
      channel.close()
    },
  }
}
