import { defineStore } from 'pinia'
import { storage } from '@/utils/storage'

interface Kept {
  large: boolean
  remind: boolean
}

const STORE = 'settings'

/** What this phone prefers; nothing here is the server's business. */
export const useSettings = defineStore('settings', {
  state: (): Kept => ({ large: false, remind: false }),
  actions: {
    restore() {
      this.$patch(storage.read<Partial<Kept>>(STORE) ?? {})
    },
    setLarge(large: boolean) {
      this.large = large
      this.keep()
    },
    setRemind(remind: boolean) {
      this.remind = remind
      this.keep()
    },
    keep() {
      storage.write(STORE, { large: this.large, remind: this.remind } satisfies Kept)
    }
  }
})
