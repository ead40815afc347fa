import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Log } from '@berth/platform/log'

/** Several events tell of one change, the first of them often before it is complete. */
const SETTLE_MS = 100
/** Network and overlay file systems tell of nothing. */
const POLL_MS = 5_000

/**
 * Tells of every new content of a file, one after the other: also when the file, or a link on the
 * way to it, is replaced by another. A file that is away, or empty for a moment, has no content.
 *
 * @param onContent awaited before the next one is told; what it throws is logged
 * @returns what stops it
 */
export function watchFile(
  file: string,
  {
    known,
    onContent,
    log,
    pollMs = POLL_MS,
  }: {
    /** What is told already. */
    known: string
    onContent: (content: string) => Promise<unknown>
    log: Log
    pollMs?: number
  },
): () => void {
  let last = known
  let isStopped = false
  let reading = false
  let isAskedAgain = false
  let isAway = false
  let settling: NodeJS.Timeout | undefined
  const polling = setInterval(() => void read(), pollMs).unref()
  const watcher = watchDirectory()

  return () => {
    isStopped = true
    clearInterval(polling)
    clearTimeout(settling)
    watcher?.close()
  }

  /** The directory: a watch of the file itself would stay with the one that was replaced. */
  function watchDirectory(): FSWatcher | null {
    try {
      const made = watch(path.dirname(path.resolve(file)), { persistent: false }, () => {
        clearTimeout(settling)
        settling = setTimeout(() => void read(), SETTLE_MS).unref()
      })
      made.on('error', (err) => log.warn({ err, file }, 'the file is polled only'))
      return made
    } catch (err) {
      log.warn({ err, file }, 'the file is polled only')
      return null
    }
  }

  async function read(): Promise<void> {
    isAskedAgain = reading
    if (reading) return
    reading = true
    try {
      do {
        isAskedAgain = false
        const content = await readFile(file, 'utf8')
        isAway = false
        if (isStopped || content.trim() === '' || content === last) continue
        last = content
        await onContent(content)
      } while (isAskedAgain)
    } catch (err) {
      if (!isAway) log.warn({ err, file }, 'the file cannot be read')
      isAway = true
    } finally {
      reading = false
    }
  }
}
