import { describe } from 'vitest'
import { testAccess } from './access.ts'
import { testAccounts } from './accounts.ts'
import { testApiKeys } from './api-keys.ts'
import { testAudit } from './audit.ts'
import { testClientDocuments } from './client-documents.ts'
import { testClients } from './clients.ts'
import { testFollowing } from './following.ts'
import { testHunt } from './hunt.ts'
import { testKeys } from './keys.ts'
import { testLogouts } from './logouts.ts'
import { testModels } from './models.ts'
import { testOwnAccess } from './own-access.ts'
import { testRaces } from './races.ts'
import { testReceivers } from './receivers.ts'
import { testRegistrations } from './registrations.ts'
import { testRevocations } from './revocations.ts'
import { testSessions } from './sessions.ts'
import { testTexts } from './texts.ts'
import { testTransfer } from './transfer.ts'
import { createWithWorld, type StorageEngine } from './world.ts'

/** What every storage has to keep to, through its ports alone. */
export function testStorage(engine: StorageEngine): void {
  describe(`storage on ${engine.name}`, () => {
    const withWorld = createWithWorld(engine)
    testModels(withWorld)
    testSessions(withWorld)
    testOwnAccess(withWorld)
    testLogouts(withWorld)
    testRaces(withWorld)
    testRevocations(withWorld)
    testAccess(withWorld)
    testReceivers(withWorld)
    testFollowing(withWorld)
    testAudit(withWorld)
    testAccounts(withWorld)
    testClients(withWorld)
    testApiKeys(withWorld)
    testRegistrations(withWorld)
    testClientDocuments(withWorld)
    testKeys(withWorld)
    testTexts(withWorld)
    testTransfer(withWorld)
    testHunt(withWorld)
  })
}
