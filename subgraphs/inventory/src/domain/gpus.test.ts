import { expect, test } from 'vitest'
import { rentableGpus } from './gpus.ts'
import type { GpuReport } from './nvidia-smi.ts'

const models = [
  { code: 'a100-sxm4-80gb', productNames: ['NVIDIA A100-SXM4-80GB', 'A100-SXM4-80GB'] },
  { code: 't4', productNames: ['Tesla T4', 'NVIDIA T4'] },
]

function gpu(given: Partial<GpuReport> = {}): GpuReport {
  return {
    uuid: 'GPU-00000000-aaaa',
    index: 0,
    productName: 'Tesla T4',
    memoryMib: 15360,
    isMig: false,
    recovery: null,
    utilizationPercent: null,
    temperatureC: null,
    powerW: null,
    ...given,
  }
}

const report = (...gpus: GpuReport[]) => ({ driverVersion: null, gpus, unidentified: 0 })

test('a GPU is of the model that is printed so, whichever driver prints it', () => {
  const found = rentableGpus(
    report(
      gpu(),
      gpu({ index: 1, productName: 'NVIDIA T4' }),
      gpu({ productName: 'A100-SXM4-80GB' }),
    ),
    models,
  )
  expect(found.rentable.map((it) => it.gpuModelCode)).toEqual(['t4', 't4', 'a100-sxm4-80gb'])
  expect(found.problems).toEqual([])
})

test.each([
  ['of an unknown model', { productName: 'Graphics Device' }, 'UNKNOWN_GPU_MODEL'],
  ['without a name', { productName: '' }, 'UNKNOWN_GPU_MODEL'],
  ['that only begins like a known one', { productName: 'Tesla T40' }, 'UNKNOWN_GPU_MODEL'],
  ['cut into MIG devices', { isMig: true }, 'MIG_ENABLED'],
  ['that wants a reset', { recovery: 'Reset' }, 'GPU_NEEDS_RECOVERY'],
])('a GPU %s is no slot, and is told of', (_name, given, problem) => {
  expect(rentableGpus(report(gpu(given)), models)).toEqual({ rentable: [], problems: [problem] })
})
