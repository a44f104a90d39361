import { createRequire } from 'node:module'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

const { preJs, preHtml, initPreContext } = createRequire(import.meta.url)('@dcloudio/uni-cli-shared')
process.env.UNI_PLATFORM ||= 'h5'
process.env.UNI_INPUT_DIR ||= new URL('./src', import.meta.url).pathname
initPreContext(process.env.UNI_PLATFORM)

const UNI_TAGS = /^(view|text|button|canvas|scroll-view|image|input|textarea|switch)$/

export default defineConfig({
  plugins: [
    {
      // the same conditional compilation (#ifdef) as the real build
      name: 'uni-ifdef',
      enforce: 'pre',
      transform(code, id) {
        if (!/\/src\/.*\.(vue|ts)(\?|$)/.test(id) || !code.includes('#if')) return
        return { code: preHtml(preJs(code)), map: null }
      }
    },
    vue({ template: { compilerOptions: { isCustomElement: (tag) => UNI_TAGS.test(tag) } } })
  ],
  resolve: { alias: { '@': new URL('./src', import.meta.url).pathname } },
  test: { environment: 'happy-dom', setupFiles: ['tests/setup.ts'], include: ['tests/**/*.spec.ts'] }
})
