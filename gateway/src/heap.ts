import { setFlagsFromString } from 'node:v8'

/**
 * Has V8 collect the old generation once it has grown to twice what was alive in it. By default it
 * waits for nearly four times as much, and keeps the pages: operations that are each seen once then
 * cost hundreds of MiB, all of it garbage. What is collected more often is little while operations
 * are known.
 *
 * For the process as a whole, and so for its entry alone to say.
 */
export function boundHeapGrowth(): void {
  setFlagsFromString('--heap-growing-percent=100')
}
