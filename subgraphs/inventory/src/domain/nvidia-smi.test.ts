import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NvidiaSmiError, parseNvidiaSmi } from './nvidia-smi.ts'

/** Real answers of several GPUs and driver generations. */
function recorded(name: string): string {
  return readFileSync(new URL(`../../test-data/${name}.xml`, import.meta.url), 'utf8')
}

describe('real answers', () => {
  test.each([
    {
      name: 'a100-sxm4-v12',
      driverVersion: '535.54.03',
      gpu: {
        uuid: 'GPU-513536b6-7d19-9063-b049-1e69664bb298',
        productName: 'NVIDIA A100-SXM4-80GB',
        memoryMib: 81920,
        isMig: true,
        utilizationPercent: null,
        temperatureC: 27,
        powerW: 67.03,
      },
    },
    {
      name: 'gtx-1660-ti',
      driverVersion: '418.43',
      gpu: {
        uuid: 'GPU-304a277d-3545-63b8-3a36-dfde3c992989',
        productName: 'Graphics Device',
        memoryMib: 5912,
        isMig: false,
        utilizationPercent: 0,
        temperatureC: 40,
        powerW: 8.93,
      },
    },
    {
      name: 'quadro-p400',
      driverVersion: '418.43',
      gpu: {
        uuid: 'GPU-8f750be4-dfbc-23b9-b33f-da729a536494',
        productName: 'Quadro P400',
        memoryMib: 1998,
        isMig: false,
        utilizationPercent: 0,
        temperatureC: 33,
        powerW: null,
      },
    },
    {
      name: 'rtx-3080-v13',
      driverVersion: '595.58.03',
      gpu: {
        uuid: 'GPU-19d6d965-2acc-f646-00f8-4c76979aabb4',
        productName: 'NVIDIA GeForce RTX 3080',
        memoryMib: 10240,
        isMig: false,
        utilizationPercent: 65,
        temperatureC: 27,
        powerW: 142.33,
      },
    },
    {
      name: 'rtx-4000-sff-ada-v13',
      driverVersion: '595.84',
      gpu: {
        uuid: 'GPU-37037c3f-65c8-ec4d-24a9-420204ad8026',
        productName: 'NVIDIA RTX 4000 SFF Ada Generation',
        memoryMib: 20475,
        isMig: false,
        utilizationPercent: 0,
        temperatureC: 38,
        powerW: 8.44,
      },
    },
    {
      name: 'tesla-t4',
      driverVersion: '515.105.01',
      gpu: {
        uuid: 'GPU-d37e67a5-91dd-3774-a5cb-99096249601a',
        productName: 'Tesla T4',
        memoryMib: 15360,
        isMig: false,
        utilizationPercent: 0,
        temperatureC: 40,
        powerW: 26.78,
      },
    },
  ])('of $name are read', ({ name, driverVersion, gpu }) => {
    expect(parseNvidiaSmi(recorded(name))).toEqual({
      driverVersion,
      gpus: [{ ...gpu, index: 0, recovery: null }],
      unidentified: 0,
    })
  })

  test('with any of their lines lost or made N/A are read for what is left', () => {
    const lines = recorded('a100-sxm4-v12').split('\n')
    const leaves = lines.flatMap((line, n) => (/<(\w+)>[^<]*<\/\1>/.test(line) ? [n] : []))
    fc.assert(
      fc.property(fc.subarray(leaves), fc.boolean(), (chosen, isLost) => {
        const changed = new Set(chosen)
        const xml = lines
          .map((line, n) => {
            if (!changed.has(n)) return line
            return isLost ? '' : line.replace(/>[^<]*</, '>N/A<')
          })
          .join('\n')
        const { gpus, unidentified } = parseNvidiaSmi(xml)
        expect(gpus.length + unidentified).toBe(1)
        const [gpu] = gpus
        if (gpu) expect([null, 81920]).toContain(gpu.memoryMib)
      }),
    )
  })
})

test('GPUs are counted as they are listed, also those that do not say which they are', () => {
  const gpu = (inner: string) => `<gpu id="x">${inner}</gpu>`
  const xml = `<nvidia_smi_log>${gpu('<uuid>GPU-00000000-aaaa</uuid>')}${gpu('')}${gpu(
    '<uuid>GPU-00000000-bbbb</uuid><gpu_recovery_action>Reset</gpu_recovery_action>',
  )}</nvidia_smi_log>`
  const { gpus, unidentified } = parseNvidiaSmi(xml)
  expect(gpus.map(({ uuid, index, recovery }) => [uuid, index, recovery])).toEqual([
    ['GPU-00000000-aaaa', 0, null],
    ['GPU-00000000-bbbb', 2, 'Reset'],
  ])
  expect(unidentified).toBe(1)
})

test('an answer without GPUs has none', () => {
  const xml = '<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>'
  expect(parseNvidiaSmi(xml)).toEqual({ driverVersion: null, gpus: [], unidentified: 0 })
})

test('entities are not expanded', () => {
  const log = (entity: string, use: string) => `<!DOCTYPE x [<!ENTITY ${entity}>]><nvidia_smi_log>
    <gpu><uuid>GPU-00000000-aaaa</uuid><product_name>${use}</product_name></gpu></nvidia_smi_log>`
  expect(parseNvidiaSmi(log('a "boom"', '&a;')).gpus[0]?.productName).toBe('&a;')
  expect(() => parseNvidiaSmi(log('f SYSTEM "file:///etc/passwd"', '&f;'))).toThrow(NvidiaSmiError)
})

test.each([
  '',
  'NVIDIA-SMI has failed because it couldn’t communicate with the NVIDIA driver.',
  '<nvidia_smi_log>',
  '<other/>',
  '<nvidia_smi_log/>',
  '{"gpus": []}',
])('%j is refused', (xml) => {
  expect(() => parseNvidiaSmi(xml)).toThrow(NvidiaSmiError)
})

test('anything else is read or refused, and does nothing worse', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (inner) => {
      try {
        parseNvidiaSmi(`<nvidia_smi_log><gpu>${inner}</gpu></nvidia_smi_log>`)
      } catch (error) {
        expect(error).toBeInstanceOf(NvidiaSmiError)
      }
    }),
  )
})
