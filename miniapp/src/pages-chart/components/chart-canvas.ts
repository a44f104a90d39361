/** What of a mini-program's `<canvas type="2d">` node is used here. */
export interface CanvasNode {
  width: number
  height: number
  getContext(kind: '2d'): any
}

const noop = () => {}
const MISSING = ['addEventListener', 'removeEventListener', 'setAttribute', 'removeAttribute']

/** Dresses the node as the DOM canvas ECharts expects. */
export function asDomCanvas(node: CanvasNode, width: number, height: number, dpr: number): any {
  node.width = width * dpr
  node.height = height * dpr
  const context = node.getContext('2d')
  if (!context.dpr) context.dpr = dpr
  const box = () => ({ left: 0, top: 0, width, height })
  const dom: Record<string, unknown> = { style: {}, clientWidth: width, clientHeight: height }
  return new Proxy(node as any, {
    get(target, key: string) {
      if (MISSING.includes(key)) return noop
      if (key === 'getBoundingClientRect') return box
      if (key in dom) return dom[key]
      const value = target[key]
      return typeof value === 'function' ? value.bind(target) : value
    },
    set(target, key: string, value) {
      if (key !== 'style') target[key] = value
      return true
    }
  })
}
