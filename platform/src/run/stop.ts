/** `npm stop`: stops the platform of this base port, or what is left of it. */
import { SetupError } from '../servers/setup-error.ts'
import { stateOf, stopState } from './state.ts'

try {
  const { stateDir } = stateOf(process.env)
  const stopped = await stopState(stateDir)
  console.log(stopped.length ? `Stopped: ${stopped.join(', ')}` : `Nothing runs on ${stateDir}`)
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exit(1)
}
