import { createConnection } from 'node:net'

/**
 * Speaks a line protocol to a server on 127.0.0.1 until its answer holds what is expected.
 *
 * @throws when it refuses, answers otherwise, or is silent for a second
 */
export function expectAnswer(port: number, say: string, expected: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: '127.0.0.1', port })
    let heard = ''
    const end = (error?: Error) => {
      socket.destroy()
      if (error) reject(error)
      else resolve()
    }
    socket.setTimeout(1000, () => end(new Error(`port ${port} is silent`)))
    socket.once('error', end)
    socket.once('close', () => end(new Error(`port ${port} closed after: ${heard.trim()}`)))
    socket.once('connect', () => {
      if (say) socket.write(say)
    })
    socket.on('data', (chunk) => {
      heard += chunk
      if (expected.test(heard)) end()
    })
  })
}
