/** mysql-iam-proxy.rb for Homebrew and mysql-iam-proxy.json for Scoop, with the sums of the executables. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { manPage } from '../../docs/make-man.ts'
import type { Context } from './context.ts'
import { downloadUrl, homepage, NAME, SUMMARY } from './project.ts'
import { executableIn } from './tool.ts'

const MANUAL = `${NAME}.1`
const FORMULA = `${NAME}.rb`
const MANIFEST = `${NAME}.json`

export async function makeFormulas(context: Context): Promise<string[]> {
  const put = async (file: string, content: string) => {
    await writeFile(join(context.release, file), content)
    return file
  }
  const download = async (target: string): Promise<Download> => {
    return await downloadOf(context.version, await executableIn(context, target))
  }
  const formula = {
    macArm: await download('darwin-arm64'),
    macIntel: await download('darwin-x64'),
    linuxArm: await download('linux-arm64'),
    linuxIntel: await download('linux-x64'),
  }
  const windows = await download('win-x64.exe')
  // Homebrew has no other source for the manual page, because an executable is a single file.
  const manual = await put(MANUAL, manPage())
  return [
    manual,
    await put(
      FORMULA,
      homebrewFormula(context.version, {
        ...formula,
        manual: await downloadOf(context.version, join(context.release, manual)),
      }),
    ),
    await put(MANIFEST, scoopManifest(context.version, windows)),
  ]
}

export interface Download {
  url: string
  sha256: string
}

async function downloadOf(version: string, path: string): Promise<Download> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return { url: downloadUrl(version, path.slice(path.lastIndexOf('/') + 1)), sha256: hash.digest('hex') }
}

type Downloads = Record<'macArm' | 'macIntel' | 'linuxArm' | 'linuxIntel' | 'manual', Download>

/** For a tap. https://docs.brew.sh/Formula-Cookbook */
export function homebrewFormula(version: string, downloads: Downloads): string {
  const from = ({ url, sha256 }: Download, indent: number) =>
    `url "${url}"\nsha256 "${sha256}"`.replace(/^/gm, ' '.repeat(indent))
  return `class MysqlIamProxy < Formula
  desc "${SUMMARY}"
  homepage "${homepage()}"
  version "${version}"
  license "MIT"

  on_macos do
    on_arm do
${from(downloads.macArm, 6)}
    end
    on_intel do
${from(downloads.macIntel, 6)}
    end
  end

  on_linux do
    on_arm do
${from(downloads.linuxArm, 6)}
    end
    on_intel do
${from(downloads.linuxIntel, 6)}
    end
  end

  resource "manual" do
${from(downloads.manual, 4)}
  end

  def install
    bin.install Dir["${NAME}-*"].first => "${NAME}"
    chmod 0755, bin/"${NAME}"
    generate_completions_from_executable(bin/"${NAME}", "completion")
    resource("manual").stage { man1.install "${MANUAL}" }
  end

  # Serves the databases of the default configuration file, which \`${NAME} add\` writes.
  service do
    run [opt_bin/"${NAME}"]
    keep_alive crashed: true
    log_path var/"log/${NAME}.log"
    error_log_path var/"log/${NAME}.log"
  end

  test do
    assert_equal version.to_s, shell_output("#{bin}/${NAME} --version").strip
    assert_match "1045", shell_output("#{bin}/${NAME} explain 1045")
  end
end
`
}

/** For a bucket. https://github.com/ScoopInstaller/Scoop/wiki/App-Manifests */
export function scoopManifest(version: string, { url, sha256 }: Download): string {
  const program = `${NAME}.exe`
  // Scoop saves the file under the name behind #/.
  const renamed = (address: string) => `${address}#/${program}`
  const manifest = {
    version,
    description: SUMMARY,
    homepage: homepage(),
    license: 'MIT',
    architecture: { '64bit': { url: renamed(url), hash: sha256 } },
    bin: program,
    checkver: { github: homepage() },
    autoupdate: {
      architecture: { '64bit': { url: renamed(url.replaceAll(version, '$version')) } },
      hash: { url: '$baseurl/SHA256SUMS' },
    },
  }
  return `${JSON.stringify(manifest, undefined, 4)}\n`
}
