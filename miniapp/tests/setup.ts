import { beforeEach, vi } from 'vitest'

/** A stand-in for uni's storage and request: tests of the client look at what would go out. */
const kept = new Map<string, unknown>()

beforeEach(() => {
  kept.clear()
  vi.stubGlobal('uni', {
    getStorageSync: (key: string) => kept.get(key) ?? '',
    setStorageSync: (key: string, value: unknown) => void kept.set(key, value),
    removeStorageSync: (key: string) => void kept.delete(key),
    upx2px: (rpx: number) => rpx / 2,
    request: vi.fn(),
    reLaunch: vi.fn(),
    redirectTo: vi.fn(),
    showToast: vi.fn()
  })
})
