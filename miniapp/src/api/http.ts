import type { Role } from './types'

/** Every failed call ends as one of these; `detail` is a sentence to show as it is. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly field: string | null = null,
    readonly requestId: string | null = null
  ) {
    super(detail)
    this.name = 'ApiError'
  }

  /** Nothing is known to have happened on the server: the same call may be sent again. */
  get retriable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

export interface Credentials {
  token(): string
  /** Called once for a 401 on a call that carried a token. */
  expired(): void
}

let credentials: Credentials = { token: () => '', expired: () => {} }

export function useCredentials(given: Credentials): void {
  credentials = given
}

export const API_BASE = `${import.meta.env.VITE_API_ORIGIN ?? ''}/api/v1`
const TIMEOUT_MS = 12_000

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
type Query = Record<string, string | number | null | undefined>

export interface CallOptions {
  body?: unknown
  query?: Query
  headers?: Record<string, string>
}

export function withQuery(path: string, query: Query = {}): string {
  const pairs = Object.entries(query)
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`)
  return pairs.length ? `${path}?${pairs.join('&')}` : path
}

const OFFLINE = '网络不通，请检查网络后再试。'
const TIMED_OUT = '服务器没有及时回应，请稍后再试。'
const UNREADABLE = '服务暂时有问题，请稍后再试。'

function sentence(status: number): string {
  if (status === 401) return '登录已过期，请重新登录。'
  if (status === 403) return '没有权限查看这一项。'
  if (status === 404) return '没有找到这一项。'
  if (status === 429) return '操作太频繁，请稍等片刻再试。'
  return UNREADABLE
}

/** RFC 9457 problem -> ApiError; whatever else a proxy may have answered gets a plain sentence. */
export function problem(status: number, data: unknown): ApiError {
  const body = (data && typeof data === 'object' ? data : {}) as Record<string, unknown>
  const text = (key: string) => (typeof body[key] === 'string' ? (body[key] as string) : null)
  return new ApiError(
    status,
    text('code') ?? `http_${status}`,
    text('detail') ?? sentence(status),
    text('field'),
    text('request_id')
  )
}

function headers(token: string, extra: Record<string, string> = {}): Record<string, string> {
  const accept = { Accept: 'application/json, application/problem+json' }
  return token ? { ...accept, Authorization: `Bearer ${token}`, ...extra } : { ...accept, ...extra }
}

/** No answer came. */
function unanswered(errMsg?: string): ApiError {
  const slow = /timeout/i.test(errMsg ?? '')
  return new ApiError(0, slow ? 'timeout' : 'offline', slow ? TIMED_OUT : OFFLINE)
}

/** An answer that is no success, to a call that carried `token`. */
function refusal(status: number, data: unknown, token: string): ApiError {
  // a slow 401 for an old token must not throw out the person who has signed in since
  if (status === 401 && token && token === credentials.token()) credentials.expired()
  return problem(status, data)
}

const isSuccess = (status: number) => status >= 200 && status < 300

/** @throws ApiError; status 0 where no answer came */
export function call<T>(method: Method, path: string, options: CallOptions = {}): Promise<T> {
  const token = credentials.token()
  return new Promise<T>((resolve, reject) => {
    uni.request({
      url: API_BASE + withQuery(path, options.query),
      method,
      data: options.body as AnyObject | undefined,
      timeout: TIMEOUT_MS,
      header: headers(token, options.headers),
      success: ({ statusCode, data }) => {
        if (isSuccess(statusCode)) return resolve(data as T)
        reject(refusal(statusCode, data, token))
      },
      fail: ({ errMsg }) => reject(unanswered(errMsg))
    })
  })
}

/** A PDF is a process of its own on the server, and may wait for its turn. */
const DOWNLOAD_TIMEOUT_MS = 30_000

/** A file as the phone keeps it: its bytes in a browser, a temporary path in WeChat. */
export interface Downloaded {
  bytes?: ArrayBuffer
  path?: string
}

/** As `call`, for a file. @throws ApiError */
export function download(path: string, query?: Query): Promise<Downloaded> {
  const token = credentials.token()
  const asked = {
    url: API_BASE + withQuery(path, query),
    header: headers(token),
    timeout: DOWNLOAD_TIMEOUT_MS
  }
  return new Promise((resolve, reject) => {
    const fail = ({ errMsg }: { errMsg?: string }) => reject(unanswered(errMsg))
    // #ifdef MP-WEIXIN
    uni.downloadFile({
      ...asked,
      success: ({ statusCode, tempFilePath }) =>
        isSuccess(statusCode)
          ? resolve({ path: tempFilePath })
          : reject(refusal(statusCode, problemFile(tempFilePath), token)),
      fail
    })
    // #endif
    // #ifndef MP-WEIXIN
    uni.request({
      ...asked,
      responseType: 'arraybuffer',
      success: ({ statusCode, data }) =>
        isSuccess(statusCode)
          ? resolve({ bytes: data as ArrayBuffer })
          : reject(refusal(statusCode, problemBytes(data), token)),
      fail
    })
    // #endif
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

// #ifdef MP-WEIXIN
/** A refused download's answer lies in the file that was to be the PDF. */
function problemFile(path: string): unknown {
  try {
    return parsed(uni.getFileSystemManager().readFileSync(path, 'utf8') as string)
  } catch {
    return null
  }
}
// #endif

// #ifndef MP-WEIXIN
/** A refusal comes as bytes too, where bytes were asked for. */
function problemBytes(data: unknown): unknown {
  return data instanceof ArrayBuffer ? parsed(new TextDecoder().decode(data)) : data
}
// #endif

export const get = <T>(path: string, query?: Query) => call<T>('GET', path, { query })
export const post = <T>(path: string, body: unknown, extra?: Record<string, string>) =>
  call<T>('POST', path, { body, headers: extra })
export const put = <T>(path: string, body: unknown) => call<T>('PUT', path, { body })
export const del = (path: string) => call<void>('DELETE', path)

/** The sentence for whatever was thrown. */
export function sentenceOf(error: unknown): string {
  return error instanceof ApiError ? error.detail : UNREADABLE
}

export function isRole(value: unknown): value is Role {
  return value === 'resident' || value === 'reader'
}
