/**
 * Fails when a built app names a host that is not the company's: a resident's phone talks to
 * nobody else. Usage: node scripts/check-no-third-party.mjs dist/build/h5
 */
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'

const TEXT = new Set(['.js', '.css', '.html', '.wxss', '.wxml', '.json', '.map', '.svg', '.wxs'])
/** Never fetched: XML namespaces, an error message, and a licence notice. */
const NEVER_FETCHED = [
  'www.w3.org/',
  'vuejs.org/error-reference/',
  'github.com/ecomfe/zrender/blob/'
]
const own = process.env.VITE_API_ORIGIN ? [`${new URL(process.env.VITE_API_ORIGIN).host}/`] : []
const allowed = [...NEVER_FETCHED, ...own]
/** An address with a scheme, or "//host" opening a string or url(): not a comment's slashes. */
const ADDRESS =
  /(?:(?:https?|wss?):|["'`(=])\/\/((?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?)(\/[^\s"'`)\\]*)?/gi

function* files(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) yield* files(path)
    else if (TEXT.has(extname(entry.name))) yield path
  }
}

const root = process.argv[2]
if (!root) throw new Error('usage: check-no-third-party.mjs <built directory>')
const foreign = []
let seen = 0
for (const path of files(root)) {
  seen += 1
  for (const match of readFileSync(path, 'utf8').matchAll(ADDRESS)) {
    const address = match[1].toLowerCase() + (match[2] ?? '/')
    if (!allowed.some((one) => address.startsWith(one))) foreign.push(`${path}: ${address}`)
  }
}
if (!seen) throw new Error(`${root} holds nothing to check: build first`)
if (foreign.length) {
  console.error(`third-party hosts in ${root}:\n  ${[...new Set(foreign)].join('\n  ')}`)
  process.exit(1)
}
console.log(`${root}: ${seen} files, no third-party host`)
