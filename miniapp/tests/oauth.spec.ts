import { describe, expect, it, vi } from 'vitest'
import type { Config } from '@/api/types'
import { authorizeUrl, takeReturned } from '@/utils/oauth'
import { comeBack, currentPath } from '@/utils/routes'
import { storage } from '@/utils/storage'

const CONFIG: Config = {
  wechat_appid: 'wx123',
  oauth_url: 'https://open.example/connect/oauth2/authorize',
  bridge_url: null,
  overdue_template: 't',
  low_balance_template: '',
  company: '暖',
  channels: ['wechat']
}
const NOW = 1_800_000_000_000
const leave = () => new URL(authorizeUrl(CONFIG, 'https://heat.example/', storage, NOW))

describe('signing in through WeChat’s web page', () => {
  it('asks for the code with all WeChat wants to know', () => {
    const url = leave()
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      appid: 'wx123',
      redirect_uri: 'https://heat.example/',
      response_type: 'code',
      scope: 'snsapi_base'
    })
    expect(url.searchParams.get('state')).toMatch(/^[0-9a-f]{32}$/)
    expect(url.hash).toBe('#wechat_redirect')
  })

  it('takes the code that comes back with its own state, once', () => {
    const state = leave().searchParams.get('state')
    expect(takeReturned(`?code=C&state=${state}`, storage, NOW + 5_000)).toEqual({
      kind: 'code',
      code: 'C'
    })
    expect(takeReturned(`?code=C&state=${state}`, storage, NOW + 6_000).kind).toBe('refused')
  })

  it('refuses a code nobody here asked for, a wrong state and one that took too long', () => {
    expect(takeReturned('?code=C&state=x', storage, NOW).kind).toBe('refused')
    leave()
    expect(takeReturned('?code=C&state=x', storage, NOW).kind).toBe('refused')
    const state = leave().searchParams.get('state')
    expect(takeReturned(`?code=C&state=${state}`, storage, NOW + 601_000).kind).toBe('refused')
  })

  it('sees an ordinary visit as one', () => {
    expect(takeReturned('?from=menu', storage, NOW)).toEqual({ kind: 'none' })
  })
})

describe('coming back to where one was', () => {
  it('keeps the page and its query', () => {
    const page = { route: 'pages/bill/index', options: { id: '3' } }
    expect(currentPath([{ route: 'pages/home/index' }, page])).toBe('/pages/bill/index?id=3')
    expect(currentPath([])).toBe(null)
  })

  it('returns there once, but never to another role’s page', () => {
    storage.write('return', '/pages/bill/index?id=3')
    comeBack('/pages/home/index')
    comeBack('/pages/home/index')
    storage.write('return', '/pages/bill/index?id=3')
    comeBack('/pages-reader/today/index')
    expect(vi.mocked(uni.reLaunch).mock.calls.map(([to]) => to.url)).toEqual([
      '/pages/bill/index?id=3',
      '/pages/home/index',
      '/pages-reader/today/index'
    ])
  })
})
