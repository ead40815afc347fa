import { XMLParser } from 'fast-xml-parser'

/** What `nvidia-smi -q -x` tells of one GPU. Null is what it does not tell, or tells as `N/A`. */
export type GpuReport = {
  /** `GPU-…`, the same for as long as the GPU exists. */
  readonly uuid: string
  /** Where it is listed, from 0. */
  readonly index: number
  readonly productName: string
  readonly memoryMib: number | null
  /** Cut into MIG devices: not one GPU to rent. */
  readonly isMig: boolean
  /** What the driver wants done (`Reset`, `Reboot`, …); null when nothing. */
  readonly recovery: string | null
  readonly utilizationPercent: number | null
  readonly temperatureC: number | null
  readonly powerW: number | null
}

export type NvidiaSmiReport = {
  readonly driverVersion: string | null
  readonly gpus: readonly GpuReport[]
  /** GPUs that did not say which they are. */
  readonly unidentified: number
}

/** The text is not the answer of `nvidia-smi -q -x`. */
export class NvidiaSmiError extends Error {
  override readonly name = 'NvidiaSmiError'
}

// Entities stay as they are written: nothing that a node sends is expanded.
const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  processEntities: false,
  isArray: (name) => name === 'gpu',
})

/**
 * Reads the answer, of whatever driver: fields are missing in some, moved or renamed in others.
 *
 * @throws {NvidiaSmiError} when it is no such answer
 */
export function parseNvidiaSmi(xml: string): NvidiaSmiReport {
  const log = child(parse(xml), 'nvidia_smi_log')
  if (!isElement(log)) throw new NvidiaSmiError('no nvidia_smi_log')
  const listed = log.gpu
  const elements = Array.isArray(listed) ? listed : []
  const gpus = elements
    .map((element: unknown, index) => gpuOf(element, index))
    .filter((gpu) => gpu !== null)
  return {
    driverVersion: text(log, 'driver_version'),
    gpus,
    unidentified: elements.length - gpus.length,
  }
}

type Element = Record<string, unknown>

function gpuOf(element: unknown, index: number): GpuReport | null {
  const uuid = text(element, 'uuid')
  if (uuid === null || !/^GPU-[0-9a-fA-F-]{8,64}$/.test(uuid)) return null
  const recovery = text(element, 'gpu_recovery_action')
  return {
    uuid,
    index,
    productName: text(element, 'product_name')?.slice(0, 120) ?? '',
    memoryMib: quantity(element, 'MiB', 'fb_memory_usage', 'total'),
    isMig: text(element, 'mig_mode', 'current_mig') === 'Enabled',
    recovery: recovery === 'None' ? null : (recovery?.slice(0, 40) ?? null),
    utilizationPercent: quantity(element, '%', 'utilization', 'gpu_util'),
    temperatureC: quantity(element, 'C', 'temperature', 'gpu_temp'),
    powerW:
      quantity(element, 'W', 'gpu_power_readings', 'instant_power_draw') ??
      quantity(element, 'W', 'gpu_power_readings', 'average_power_draw') ??
      quantity(element, 'W', 'gpu_power_readings', 'power_draw') ??
      quantity(element, 'W', 'power_readings', 'power_draw'),
  }
}

function parse(xml: string): unknown {
  try {
    return parser.parse(xml)
  } catch (cause) {
    throw new NvidiaSmiError('malformed XML', { cause })
  }
}

function text(element: unknown, ...path: string[]): string | null {
  const found = path.reduce<unknown>(child, element)
  if (typeof found !== 'string') return null
  const value = found.trim()
  return value === '' || value === 'N/A' || value.startsWith('[') ? null : value
}

/** A number with its unit, `27 C`; another unit is not understood. */
function quantity(element: unknown, unit: string, ...path: string[]): number | null {
  const [, number, itsUnit] = /^(\d+(?:\.\d+)?) ?(\S+)$/.exec(text(element, ...path) ?? '') ?? []
  return number !== undefined && itsUnit === unit ? Number(number) : null
}

function child(element: unknown, name: string): unknown {
  return isElement(element) && Object.hasOwn(element, name) ? element[name] : undefined
}

function isElement(value: unknown): value is Element {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
