/** What the phone keeps between visits. Anything unreadable counts as absent. */
export interface KeyValue {
  read<T>(key: string): T | null
  write(key: string, value: unknown): void
  remove(key: string): void
}

const PREFIX = 'nuan.'

export const storage: KeyValue = {
  read<T>(key: string): T | null {
    const text = uni.getStorageSync(PREFIX + key)
    if (typeof text !== 'string' || !text) return null
    try {
      return JSON.parse(text) as T
    } catch {
      return null
    }
  },
  write(key, value) {
    uni.setStorageSync(PREFIX + key, JSON.stringify(value))
  },
  remove(key) {
    uni.removeStorageSync(PREFIX + key)
  }
}
