/** Events between domains: the port, and the one adapter there is. */
export { openBus } from './bus-nats.ts'
export {
  type Bus,
  type Delivery,
  OutOfStep,
  type StreamState,
} from './bus-port.ts'
