import { testRefreshKills } from '../fault/refresh-kill.ts'

testRefreshKills(100)
