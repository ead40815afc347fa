import type { Problem } from './node.ts'
import type { GpuReport, NvidiaSmiReport } from './nvidia-smi.ts'

export type GpuModel = {
  readonly code: string
  /** What nvidia-smi prints for it. */
  readonly productNames: readonly string[]
}

/** A GPU that can be a slot. */
export type RentableGpu = {
  readonly gpuUuid: string
  readonly index: number
  readonly gpuModelCode: string
}

/**
 * Which of the reported GPUs can be rented: whole, sound, and of a model in the catalogue. A model
 * is never made up for a GPU that has none.
 */
export function rentableGpus(
  report: NvidiaSmiReport,
  models: readonly GpuModel[],
): { rentable: RentableGpu[]; problems: Problem[] } {
  const rentable: RentableGpu[] = []
  const problems = new Set<Problem>(report.unidentified > 0 ? ['GPU_UNIDENTIFIED'] : [])
  for (const gpu of report.gpus) {
    const model = models.find(({ productNames }) => productNames.includes(gpu.productName))
    const problem = model ? problemOf(gpu) : 'UNKNOWN_GPU_MODEL'
    if (problem) problems.add(problem)
    else if (model) {
      rentable.push({ gpuUuid: gpu.uuid, index: gpu.index, gpuModelCode: model.code })
    }
  }
  return { rentable, problems: [...problems] }
}

function problemOf(gpu: GpuReport): Problem | null {
  if (gpu.isMig) return 'MIG_ENABLED'
  return gpu.recovery === null ? null : 'GPU_NEEDS_RECOVERY'
}
