import { createPinia } from 'pinia'
import { createSSRApp } from 'vue'
import App from './App.vue'

// #ifdef H5
// Back from WeChat's sign-in: "?code=…&state=…", often with "#wechat_redirect", which is no page
const returned = /[?&]state=/.test(location.search)
if (returned || (location.hash && !location.hash.startsWith('#/'))) {
  const page = returned ? '/pages/signin/index' : '/'
  history.replaceState(null, '', `${location.pathname}${location.search}#${page}`)
}
// #endif

export function createApp() {
  const app = createSSRApp(App)
  const pinia = createPinia()
  app.use(pinia)
  return { app, pinia }
}
