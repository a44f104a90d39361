/// <reference types="vite/client" />

interface ImportMetaEnv {
  /** Where a mini-program finds the server, e.g. "https://heat.example.cn". Empty on H5: same origin. */
  readonly VITE_API_ORIGIN?: string
}

declare module '*.vue' {
  import { DefineComponent } from 'vue'
  const component: DefineComponent<{}, {}, any>
  export default component
}
