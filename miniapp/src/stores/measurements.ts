import { defineStore } from 'pinia'
import { fetchColdVisits, sendMeasurement } from '@/api'
import type { ColdReport, ColdVisit } from '@/api/types'
import { type Enqueued, Outbox, type QueuedMeasurement } from '@/utils/queue'
import { storage } from '@/utils/storage'
import { useSession } from './session'

/** Cold rooms to measure, and what was measured without signal; a queue for each reader. */
const boxes = new Map<string, Outbox<QueuedMeasurement, ColdReport>>()

function boxOf(reader: string): Outbox<QueuedMeasurement, ColdReport> {
  const found = boxes.get(reader) ?? new Outbox(storage, `cold.queue.${reader}`)
  boxes.set(reader, found)
  return found
}

export const useMeasurements = defineStore('measurements', {
  state: () => ({
    visits: null as ColdVisit[] | null,
    /** The list shown is from storage, since the server could not be reached. */
    stale: false,
    queued: [] as QueuedMeasurement[]
  }),
  actions: {
    box() {
      return boxOf(useSession().name)
    },
    sync() {
      this.queued = this.box().all()
    },
    of(report: number): QueuedMeasurement | null {
      return this.queued.find((one) => one.report_id === report) ?? null
    },
    async load() {
      const key = `cold.${useSession().name}`
      this.sync()
      try {
        const { visits } = await fetchColdVisits()
        this.$patch({ visits, stale: false })
        storage.write(key, visits)
      } catch (error) {
        const kept = storage.read<ColdVisit[]>(key)
        if (!kept) throw error
        this.$patch({ visits: kept, stale: true })
      }
    },
    add(measured: QueuedMeasurement): Enqueued {
      const outcome = this.box().add(measured)
      this.sync()
      return outcome
    },
    drop(clientId: string) {
      this.box().drop(clientId)
      this.sync()
    },
    async flush() {
      await this.box().flush(
        ({ report_id, measured_at, measured_cdeg, resident_signature, staff_signature }) =>
          sendMeasurement(report_id, { measured_at, measured_cdeg, resident_signature, staff_signature }),
        (measured) => {
          this.visits = this.visits?.filter((one) => one.id !== measured.report_id) ?? null
        }
      )
      this.sync()
    }
  }
})
