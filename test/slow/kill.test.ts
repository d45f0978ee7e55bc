import { testKills } from '../fault/kill.ts'

testKills(50)
