import { onHide, onShow, onUnload } from '@dcloudio/uni-app'

/** Runs `work` on each showing of the page and every `seconds` while it is in view. */
export function whileVisible(work: () => void, seconds: number): void {
  let timer: ReturnType<typeof setInterval> | null = null
  const stop = () => {
    if (timer) clearInterval(timer)
    timer = null
  }
  const hidden = () => typeof document !== 'undefined' && document.hidden === true
  onShow(() => {
    stop()
    work()
    timer = setInterval(() => void (hidden() || work()), seconds * 1000)
  })
  onHide(stop)
  onUnload(stop)
}
