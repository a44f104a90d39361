import { defineStore } from 'pinia'
import { fetchReaderDay, sendReading } from '@/api'
import type { ReaderDay, ReaderMeter, ReadingAccepted } from '@/api/types'
import { type Enqueued, type QueuedReading, ReadingQueue } from '@/utils/queue'
import { storage } from '@/utils/storage'
import { useSession } from './session'

interface KeptDay {
  day: ReaderDay
  fetchedAt: string
}

/** One queue for each reader: a colleague signing in on this phone must not send my readings. */
const queues = new Map<string, ReadingQueue>()

function queueOf(reader: string): ReadingQueue {
  const found = queues.get(reader) ?? new ReadingQueue(storage, `queue.${reader}`)
  queues.set(reader, found)
  return found
}

export const useReadings = defineStore('readings', {
  state: () => ({
    day: null as ReaderDay | null,
    fetchedAt: '',
    /** The list shown is from storage, since the server could not be reached. */
    stale: false,
    queued: [] as QueuedReading[],
    answers: {} as Record<string, ReadingAccepted>
  }),
  getters: {
    waiting: (state) => state.queued.filter((reading) => !reading.conflict),
    conflicts: (state) => state.queued.filter((reading) => reading.conflict)
  },
  actions: {
    queue(): ReadingQueue {
      return queueOf(useSession().name)
    },
    sync() {
      this.queued = this.queue().all()
    },
    /** The list from the server, or yesterday's good one where there is no signal. */
    async load() {
      const key = `round.${useSession().name}`
      this.sync()
      try {
        const day = await fetchReaderDay()
        const fetchedAt = new Date().toISOString()
        this.$patch({ day, fetchedAt, stale: false })
        storage.write(key, { day, fetchedAt } satisfies KeptDay)
      } catch (error) {
        const kept = storage.read<KeptDay>(key)
        if (!kept) throw error
        this.$patch({ ...kept, stale: true })
      }
    },
    meter(id: number): ReaderMeter | null {
      return this.day?.meters.find((meter) => meter.id === id) ?? null
    },
    add(reading: QueuedReading): Enqueued {
      const outcome = this.queue().add(reading)
      this.sync()
      return outcome
    },
    drop(clientId: string) {
      this.queue().drop(clientId)
      this.sync()
    },
    async flush() {
      await this.queue().flushTo(sendReading, (reading, answer) => {
        this.answers[reading.client_id] = answer
        this.markRead(reading)
      })
      this.sync()
    },
    markRead(reading: QueuedReading) {
      const meter = this.meter(reading.meter_id)
      if (!meter || !this.day) return
      if (meter.state !== 'read') {
        this.day.read += 1
        this.day.missing = Math.max(0, this.day.missing - 1)
      }
      Object.assign(meter, {
        state: 'read',
        register: reading.register,
        last_read_at: reading.read_at,
        error: null
      })
    }
  }
})
