import { onLoad, onPullDownRefresh, onReachBottom, onShow } from '@dcloudio/uni-app'
import { ref, type Ref } from 'vue'
import { sentenceOf } from '@/api/http'
import { admitHousehold } from './guard'

interface Page<T> {
  items: T[]
  next: number | null
}

/**
 * A household's list, the newest first: again on every return, on by its bottom, anew by a pull.
 *
 * `fetch` gets a page before `before`, or the first one. `error` is a sentence, or empty.
 */
export function useHouseholdPages<T>(
  fetch: (household: number, before: number | null) => Promise<Page<T>>,
) {
  const household = ref<number | null>(null)
  const items = ref([]) as Ref<T[]>
  const next = ref<number | null>(null)
  const loaded = ref(false)
  const busy = ref(false)
  const error = ref('')

  async function load(fromStart: boolean) {
    if (household.value === null || busy.value) return
    busy.value = true
    error.value = ''
    try {
      const page = await fetch(household.value, fromStart ? null : next.value)
      items.value = fromStart ? page.items : [...items.value, ...page.items]
      next.value = page.next
      loaded.value = true
    } catch (thrown) {
      error.value = sentenceOf(thrown)
    } finally {
      busy.value = false
    }
  }

  onLoad(() => {
    household.value = admitHousehold()
  })
  onShow(() => void load(true))
  onPullDownRefresh(async () => {
    await load(true)
    uni.stopPullDownRefresh()
  })
  onReachBottom(() => {
    if (next.value !== null && !error.value) void load(false)
  })
  return { items, next, loaded, error, load }
}
