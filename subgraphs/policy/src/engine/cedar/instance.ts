import { createRequire } from 'node:module'
import type * as CedarWasm from '@cedar-policy/cedar-wasm/nodejs'

/** Cedar, which answers at once. A call throws {@link CedarCrash} when the instance did not survive it. */
export type CedarInstance = {
  call<T>(ask: (cedar: typeof CedarWasm) => T): T
}

/** The stack ran out, most likely: what was loaded before is gone. */
export class CedarCrash extends Error {
  override readonly name = 'CedarCrash'
}

/**
 * An instance of its own, replaced when it crashes: rules that nest deeply enough run it out of stack,
 * after which it fails at whatever it is asked. A new one takes some 20 ms.
 */
export function createCedarInstance(): CedarInstance {
  let cedar = open()
  return {
    call(ask) {
      try {
        return ask(cedar)
      } catch (cause) {
        cedar = open()
        throw new CedarCrash('Cedar crashed and was started anew', { cause })
      }
    },
  }
}

/**
 * The package makes one instance per load of its module, and has no way to make another. The module is
 * kept neither in the cache nor among the children of one that stays: its 13 MB go with its last user.
 */
function open(): typeof CedarWasm {
  const require = createRequire(import.meta.url)
  const file = require.resolve('@cedar-policy/cedar-wasm/nodejs')
  delete require.cache[file]
  const cedar = require(file) as typeof CedarWasm
  delete require.cache[file]
  return cedar
}
