import { testRefreshKills } from './refresh-kill.ts'

testRefreshKills(15)
