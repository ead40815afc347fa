/**
 * What an organization may hold of GPUs at once, by the key of its policy. `initial` is what a new
 * installation starts with, and what holds in allocations while policy knows no such key yet.
 */
export const GPU_QUOTA = { key: 'quota.gpus', initial: 128 } as const
