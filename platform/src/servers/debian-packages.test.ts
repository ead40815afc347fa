import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { unpackDebianPackages } from './debian-packages.ts'
import { testDirectory } from './test-directory.ts'

/** Stand-ins for apt-get and dpkg-deb; `download` runs what the test says. */
function tools(directory: string, download = 'touch server.deb library.deb') {
  const write = (name: string, script: string) => {
    const file = path.join(directory, name)
    writeFileSync(file, `#!/bin/sh\n${script}`)
    chmodSync(file, 0o755)
    return file
  }
  return {
    aptGet: write(
      'apt-get',
      `case "$*" in
        *--simulate*) echo 'Inst library (1)'; echo 'Inst server (2)'; echo 'Conf server' ;;
        *download*) echo "$*" >> ${directory}/downloads; ${download} ;;
        *update*) exit 100 ;;
      esac`,
    ),
    dpkgDeb: write('dpkg-deb', 'mkdir -p "$3/usr/bin"; echo "$2" >> "$3/usr/bin/server"'),
  }
}

test('what the system lacks is unpacked, though one source is out of reach', async () => {
  using directory = testDirectory()
  const cache = path.join(directory.path, 'cache')
  const packages = ['server']
  await unpackDebianPackages({
    cache,
    packages,
    check: async () => {},
    ...tools(directory.path),
  })
  expect(readFileSync(path.join(directory.path, 'downloads'), 'utf8')).toMatch(/library server\n$/)
  expect(readFileSync(path.join(cache, 'usr/bin/server'), 'utf8').split('\n')).toHaveLength(3)
  expect(readdirSync(directory.path)).not.toContain('cache.new')
})

test('what a killed run left is thrown away', async () => {
  using directory = testDirectory()
  const cache = path.join(directory.path, 'cache')
  mkdirSync(`${cache}.new/tree/usr/bin`, { recursive: true })
  writeFileSync(`${cache}.new/tree/usr/bin/half`, '')
  await unpackDebianPackages({
    cache,
    packages: ['server'],
    check: async () => {},
    ...tools(directory.path),
  })
  expect(readdirSync(path.join(cache, 'usr/bin'))).toEqual(['server'])
})

test.each([
  [
    'a download fails',
    'echo "E: no route to host" >&2; exit 100',
    async () => {},
    'no route to host',
  ],
  ['it does not run here', undefined, () => Promise.reject(new Error('bad libc')), 'bad libc'],
])(
  'nothing is left when %s, and the reason is told in one line',
  async (_, download, check, why) => {
    using directory = testDirectory()
    const cache = path.join(directory.path, 'cache')
    const failure = await unpackDebianPackages({
      cache,
      packages: ['server'],
      check,
      ...tools(directory.path, download),
    }).catch((error: Error) => error)
    expect((failure as Error).message).toContain(why)
    expect((failure as Error).message).not.toContain('\n')
    expect(existsSync(cache) || existsSync(`${cache}.new`)).toBe(false)
  },
)
