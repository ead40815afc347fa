import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { berthHome } from '@berth/platform/servers/home'
import { type Browser, chromium, type LaunchOptions } from 'playwright-core'

const run = promisify(execFile)

/**
 * A real Chromium without a window: the one that `BERTH_TEST_CHROMIUM` names, the one of the package
 * `@sparticuz/chromium` (Linux on x64), or one that is installed.
 *
 * It is started without the package's own arguments: they turn off the same-origin policy, on which
 * half of what is tested here rests.
 *
 * @throws {Error} that says what to install
 */
export async function openChromium(): Promise<Browser> {
  const failures: string[] = []
  for (const [name, candidate] of candidates()) {
    try {
      const options = await candidate()
      return await chromium.launch({
        ...options,
        headless: true,
        // Containers give it neither the namespaces of its sandbox nor much shared memory.
        args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
      })
    } catch (error) {
      failures.push(`${name}: ${String(error).split('\n', 1)[0]}`)
    }
  }
  throw new Error(
    `There is no Chromium for the tests in a browser. Install Chrome or Chromium, or name one in BERTH_TEST_CHROMIUM.\n${failures.join('\n')}`,
  )
}

type Candidate = () => LaunchOptions | Promise<LaunchOptions>

function candidates(): [string, Candidate][] {
  const { BERTH_TEST_CHROMIUM: named } = process.env
  // Whoever names one wants that one.
  if (named) return [['BERTH_TEST_CHROMIUM', () => ({ executablePath: named })]]
  const isPackaged = process.platform === 'linux' && process.arch === 'x64'
  return [
    ...(isPackaged ? [['@sparticuz/chromium', packaged] satisfies [string, Candidate]] : []),
    ...['chrome', 'msedge'].map((channel): [string, Candidate] => [channel, () => ({ channel })]),
    ...INSTALLED.filter((file) => existsSync(file)).map((file): [string, Candidate] => [
      file,
      () => ({ executablePath: file }),
    ]),
  ]
}

const INSTALLED = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
]

/** The package's, unpacked once per machine and version; with its own libraries where some are missing. */
async function packaged(): Promise<LaunchOptions> {
  const tree = await unpacked()
  const executablePath = path.join(tree, 'chromium')
  const env = { ...process.env, FONTCONFIG_FILE: path.join(tree, FONTS) }
  const withLibraries = { ...env, LD_LIBRARY_PATH: path.join(tree, 'al2023/lib') }
  const starts = (environment: NodeJS.ProcessEnv) =>
    run(executablePath, ['--version'], { env: environment }).then(
      () => true,
      () => false,
    )
  return { executablePath, env: defined((await starts(env)) ? env : withLibraries) }
}

/**
 * Made aside and renamed into place: two runs at once, or one that is killed, leave nothing half
 * done. The package itself unpacks into the temp directory, takes whatever lies there for its own,
 * and brings its libraries along only where it believes to be in Amazon's cloud.
 */
async function unpacked(): Promise<string> {
  const require = createRequire(import.meta.url)
  const main = require.resolve('@sparticuz/chromium')
  const manifest = path.join(path.dirname(main), '../package.json')
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
  const { servers } = berthHome()
  const tree = path.join(servers, `chromium-${version}`)
  if (existsSync(tree)) return tree
  mkdirSync(servers, { recursive: true })
  const work = mkdtempSync(`${tree}.`)
  try {
    const program = `import chromium from ${JSON.stringify(main)}; await chromium.executablePath()`
    await run(process.execPath, ['--input-type=module', '--eval', program], {
      env: { ...process.env, TMPDIR: work, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x' },
    })
    writeFileSync(path.join(work, FONTS), fontsOf(tree))
    renameSync(work, tree)
  } catch (error) {
    rmSync(work, { recursive: true, force: true })
    if (!existsSync(tree)) throw error
  }
  return tree
}

const FONTS = 'berth-fonts.conf'

/** A machine may have no font, and then no text; the package's configuration looks for its own in /tmp. */
function fontsOf(tree: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${tree}/fonts</dir><cachedir>${tree}/fonts-cache</cachedir></fontconfig>
`
}

function defined(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((it): it is [string, string] => !!it[1]))
}
