import { defineStore } from 'pinia'
import { fetchMe, signInStaff, signInWechat, signOut, type WechatVia } from '@/api'
import { ApiError, useCredentials } from '@/api/http'
import type { Household, ResidentSession, Role, StaffSession } from '@/api/types'
import { comeBack, HOME, leaveForSignIn, READER_HOME } from '@/utils/routes'
import { storage } from '@/utils/storage'

interface Kept {
  token: string
  role: Role
  name: string
  households: Household[]
  householdId: number | null
}

const STORE = 'session'
const nobody = () => ({
  token: '',
  role: null as Role | null,
  name: '',
  households: [] as Household[],
  householdId: null as number | null
})

export const useSession = defineStore('session', {
  state: nobody,
  getters: {
    signedIn: (state) => !!state.token,
    household: (state) =>
      state.households.find((household) => household.id === state.householdId) ??
      state.households[0] ??
      null
  },
  actions: {
    restore() {
      useCredentials({ token: () => this.token, expired: () => this.expired() })
      const kept = storage.read<Kept>(STORE)
      if (kept?.token) this.$patch(kept)
    },
    keep() {
      const { token, role, name, households, householdId } = this
      storage.write(STORE, { token, role, name, households, householdId })
    },
    async enterWechat(code: string, via: WechatVia) {
      this.start(await signInWechat(code, via), '')
    },
    async enterStaff(login: string, password: string) {
      const session = await signInStaff(login, password)
      if (session.role !== 'reader') {
        throw new ApiError(403, 'forbidden', '这个账号不是抄表员，请从员工后台登录。')
      }
      this.start({ ...session, role: 'reader' }, login)
    },
    start(session: ResidentSession | (StaffSession & { role: 'reader' }), login: string) {
      const households = session.role === 'resident' ? session.households : []
      const name = session.role === 'reader' ? session.name || login : ''
      const householdId = households.some((one) => one.id === this.householdId)
        ? this.householdId
        : (households[0]?.id ?? null)
      this.$patch({ token: session.token, role: session.role, name, households, householdId })
      this.keep()
    },
    /** Where a person belongs after signing in: where they were, or their role's first page. */
    arrive() {
      comeBack(this.role === 'reader' ? READER_HOME : HOME)
    },
    async refresh() {
      const me = await fetchMe()
      this.setHouseholds(me.households)
    },
    setHouseholds(households: Household[]) {
      this.households = households
      if (!households.some((one) => one.id === this.householdId)) {
        this.householdId = households[0]?.id ?? null
      }
      this.keep()
    },
    choose(householdId: number) {
      this.householdId = householdId
      this.keep()
    },
    /** The server no longer knows the token. */
    expired() {
      this.forget()
      leaveForSignIn()
    },
    async leave() {
      await signOut().catch(() => undefined)
      this.forget()
      uni.reLaunch({ url: '/pages/signin/index' })
    },
    forget() {
      this.$patch(nobody())
      storage.remove(STORE)
    }
  }
})
