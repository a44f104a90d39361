import type { Config } from '@/api/types'
import type { KeyValue } from './storage'
import { uuid } from './uuid'

/** The official account's web sign-in (H5): away to WeChat, back with ?code=&state=. */
interface Pending {
  state: string
  startedAt: number
}

const STORE = 'oauth.pending'
const LIFETIME_MS = 10 * 60_000

export type Returned =
  | { kind: 'none' }
  | { kind: 'code'; code: string }
  | { kind: 'refused'; detail: string }

export function authorizeUrl(
  config: Config,
  here: string,
  storage: KeyValue,
  now: number
): string {
  const state = uuid().replace(/-/g, '')
  storage.write(STORE, { state, startedAt: now } satisfies Pending)
  const query = [
    ['appid', config.wechat_appid],
    ['redirect_uri', here],
    ['response_type', 'code'],
    ['scope', 'snsapi_base'],
    ['state', state]
  ]
  const joint = config.oauth_url.includes('?') ? '&' : '?'
  const text = query.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join('&')
  return `${config.oauth_url}${joint}${text}#wechat_redirect`
}

/** What the address brought back. The state is good once, and only for the browser that asked. */
export function takeReturned(search: string, storage: KeyValue, now: number): Returned {
  const query = new URLSearchParams(search)
  const code = query.get('code')
  const state = query.get('state')
  if (!code && !state) return { kind: 'none' }
  const pending = storage.read<Pending>(STORE)
  storage.remove(STORE)
  if (!code) return { kind: 'refused', detail: '您取消了微信授权，可以再次登录。' }
  if (!pending || pending.state !== state) {
    return { kind: 'refused', detail: '登录校验未通过，请重新登录。' }
  }
  if (now - pending.startedAt > LIFETIME_MS) {
    return { kind: 'refused', detail: '登录等待太久，请重新登录。' }
  }
  return { kind: 'code', code }
}
