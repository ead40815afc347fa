import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits until the assertion passes. Its patience is for machines that do many things at once: a
 * test that passes does not wait for it.
 *
 * @throws what the assertion threw last
 */
export async function until<T>(assertion: () => T | Promise<T>, seconds = 30): Promise<T> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    try {
      return await assertion()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await sleep(20)
    }
  }
}
