/** Prints what the built apps weigh. Usage: npm run sizes (after the builds). */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

function* files(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) yield* files(path)
    else yield path
  }
}

const kb = (bytes) => `${(bytes / 1024).toFixed(0)} KB`
const sum = (values) => values.reduce((total, value) => total + value, 0)

function h5(root) {
  const all = [...files(root)]
  const gzip = (ext) =>
    sum(all.filter((path) => extname(path) === ext).map((path) => gzipSync(readFileSync(path)).length))
  console.log(`H5: gzipped js ${kb(gzip('.js'))}, css ${kb(gzip('.css'))}, ${all.length} files`)
}

function weixin(root) {
  const packages = { main: 0 }
  for (const path of files(root)) {
    const top = path.slice(root.length + 1).split('/')[0]
    const name = top.startsWith('pages-') ? top : 'main'
    packages[name] = (packages[name] ?? 0) + readFileSync(path).length
  }
  const text = Object.entries(packages).map(([name, bytes]) => `${name} ${kb(bytes)}`)
  console.log(`WeChat: ${text.join(', ')} (each must stay under 2048 KB)`)
  if (Object.values(packages).some((bytes) => bytes >= 2048 * 1024)) process.exit(1)
}

const at = (name) => new URL(`../dist/build/${name}`, import.meta.url).pathname
if (existsSync(at('h5'))) h5(at('h5'))
if (existsSync(at('mp-weixin'))) weixin(at('mp-weixin'))
