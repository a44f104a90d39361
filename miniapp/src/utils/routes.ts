import { storage } from './storage'

export const HOME = '/pages/home/index'
export const READER_HOME = '/pages-reader/today/index'
export const SIGN_IN = '/pages/signin/index'

const STORE = 'return'

interface PageLike {
  route?: string
  options?: Record<string, string>
}

/** The page in front, with its query: "/pages/bill/index?id=3". */
export function currentPath(pages: PageLike[]): string | null {
  const top = pages[pages.length - 1]
  if (!top?.route) return null
  const query = Object.entries(top.options ?? {})
    .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
    .join('&')
  return `/${top.route}${query ? `?${query}` : ''}`
}

/** Off to sign in, remembering where one was. */
export function leaveForSignIn(): void {
  const here = currentPath(getCurrentPages() as unknown as PageLike[])
  if (here?.startsWith(SIGN_IN)) return
  if (here && !here.startsWith('/pages/staff/')) storage.write(STORE, here)
  uni.reLaunch({ url: SIGN_IN })
}

/** Back to where one was, if that page belongs to the same role; else to the role's first page. */
export function comeBack(first: string): void {
  const kept = storage.read<string>(STORE)
  storage.remove(STORE)
  const forReader = (path: string) => path.startsWith('/pages-reader/')
  const fits = kept !== null && forReader(kept) === forReader(first)
  uni.reLaunch({ url: fits ? kept : first })
}

export const open = (url: string) => uni.navigateTo({ url })

/** Back one page, or to `first` where the page was opened directly (a shared link, a reload). */
export function back(first: string): void {
  if (getCurrentPages().length > 1) uni.navigateBack()
  else uni.reLaunch({ url: first })
}
