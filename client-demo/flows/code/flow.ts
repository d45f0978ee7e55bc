import type { Flow } from '../../flow.ts'
import { readToken, sendNoToken, tamper, writeNote } from './api.ts'
import { readAsAdmin, readAsBob, signInBob, writeAsBob } from './people.ts'
import { refreshOnce, retryRefresh, reuseRefresh } from './refresh.ts'
import { outliveToken, readAsService, useOtherAudience } from './service.ts'
import {
  consent,
  discover,
  exchange,
  readProfile,
  request,
  signInAlice,
  signInYourself,
} from './sign-in.ts'
import { afterSignOut, comeAgain, signOut } from './sign-out.ts'
import { createCodeStage, type CodeStage } from './stage.ts'

export const codeFlow: Flow<CodeStage> = {
  name: 'code',
  summary: 'a person signs in, a client gets tokens, an API serves what is theirs and no more',
  needs: ['notes'],
  takesBrowser: true,
  createStage: createCodeStage,
  listSteps: ({ openBrowser }) => [
    discover,
    ...(openBrowser ? [signInYourself] : [request, signInAlice, consent]),
    exchange,
    readToken,
    readProfile,
    writeNote,
    sendNoToken,
    tamper,
    signInBob,
    writeAsBob,
    readAsBob,
    readAsAdmin,
    readAsService,
    useOtherAudience,
    outliveToken,
    refreshOnce,
    retryRefresh,
    reuseRefresh,
    comeAgain,
    signOut,
    afterSignOut,
  ],
}
