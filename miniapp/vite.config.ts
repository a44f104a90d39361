import { defineConfig, type Plugin } from 'vite'
import uniModule from '@dcloudio/vite-plugin-uni'

const uni = ((uniModule as any).default ?? uniModule) as typeof uniModule
const isMiniProgram = () => !!process.env.UNI_PLATFORM?.startsWith('mp-')

/** uni-app puts every npm module into the main package's vendor.js; charts belong to their subpackage. */
function subpackageChunks(rules: [RegExp, string][]): Plugin {
  return {
    name: 'subpackage-chunks',
    enforce: 'post',
    configResolved(config) {
      if (!isMiniProgram()) return
      const output = config.build.rollupOptions.output as any
      const previous = output.manualChunks
      output.manualChunks = (id: string, api: any) => {
        const path = id.replace(/\\/g, '/')
        const rule = rules.find(([pattern]) => pattern.test(path))
        return rule ? rule[1] : previous?.(id, api)
      }
    }
  }
}

/** uni-app defines a global `wx` on H5, which fools zrender's platform detection: decide at build time. */
function zrenderPlatform(): Plugin {
  const probe = "typeof wx === 'object' && typeof wx.getSystemInfoSync === 'function'"
  return {
    name: 'zrender-platform',
    enforce: 'pre',
    transform(code, id) {
      if (!/\/zrender\/lib\/core\/env\.js/.test(id)) return
      if (!code.includes(probe)) this.error('zrender env.js changed: review zrenderPlatform()')
      return { code: code.replace(probe, isMiniProgram() ? 'true' : 'false'), map: null }
    }
  }
}

/**
 * uni-app's runtimes carry addresses of their maker's servers (a preloaded image, a font, a map
 * picture, ...). A resident's phone talks to nobody but the company, so they become empty data.
 * scripts/check-no-third-party.mjs fails the build when one slips through.
 */
function stripThirdParties(): Plugin {
  const hosts = String.raw`(?:[\w-]+\.)*(?:dcloud\.net\.cn|dcloud\.io|alicdn\.com|bspapp\.com|qq\.com|gtimg\.com)`
  const address = new RegExp(String.raw`(?:https?:)?//${hosts}[^\s"'\x60)<>\\]*`, 'g')
  const clean = (text: string) => text.replace(address, 'data:,')
  return {
    name: 'strip-third-parties',
    enforce: 'post',
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type === 'chunk') file.code = clean(file.code)
        else if (typeof file.source === 'string') file.source = clean(file.source)
        else if (/\.(css|wxss|js|html)$/.test(file.fileName)) {
          file.source = clean(Buffer.from(file.source).toString('utf8'))
        }
      }
    }
  }
}

if (isMiniProgram() && !process.env.VITE_API_ORIGIN) {
  console.warn('VITE_API_ORIGIN is not set: this mini-program will not find its server (see README.md)')
}

export default defineConfig({
  base: './',
  plugins: [
    zrenderPlatform(),
    uni(),
    stripThirdParties(),
    subpackageChunks([[/\/node_modules\/(echarts|zrender|tslib)\//, 'pages-chart/common/vendor']])
  ],
  resolve: { alias: { '@': new URL('./src', import.meta.url).pathname } },
  optimizeDeps: { exclude: ['echarts', 'zrender'] },
  css: { preprocessorOptions: { scss: { silenceDeprecations: ['legacy-js-api'] } } },
  build: { minify: 'esbuild' }
})
