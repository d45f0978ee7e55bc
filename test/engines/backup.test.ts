import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, describe, test } from 'vitest'
import { openStores } from '../../auth-server/storage/stores.ts'
import { account } from '../storage/records.ts'
import { createTestClock } from '../support/clock.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { makeFolder } from '../support/folder.ts'

const { isMissing, note } = needEngines('postgres')
const PAGE = path.resolve(import.meta.dirname, '../../docs/backup.md')

/** The blocks of the section about PostgreSQL, in their order, but for how to reach it. */
function readBlocks() {
  const [, section = ''] = readFileSync(PAGE, 'utf8').split('\n## PostgreSQL\n')
  const [own = ''] = section.split('\n## ')
  return [...own.matchAll(/```(sh|sql)\n(.*?)```/gs)].map(([, language, block = '']) => ({
    language,
    text: block.replace(/^export .*\n/, ''),
  }))
}

describe.skipIf(isMissing)(`docs/backup.md${note}`, () => {
  test('has the commands that copy a PostgreSQL database to another', async () => {
    using folder = makeFolder()
    await using postgres = await startPostgres()
    const { hostname, port, username, pathname } = new URL(postgres.url)
    const clock = createTestClock()
    {
      await using stores = await openStores(postgres.url, clock)
      await stores.accounts.insert(account({ username: 'ann' }))
    }
    const env = { PATH: '/usr/bin:/bin', PGHOST: hostname, PGPORT: port, PGUSER: username }
    const options = { cwd: folder.path, env, stdio: 'pipe' } as const
    for (const { language, text } of readBlocks()) {
      const fitted = text
        .replace(/ portreeve$/m, ` ${pathname.slice(1)}`)
        .replace('owner portreeve ', `owner ${username} `)
      if (language === 'sh') execFileSync('/bin/sh', ['-e', '-c', fitted], options)
      else execFileSync('psql', ['-v', 'ON_ERROR_STOP=1', '-c', fitted, 'postgres'], options)
    }
    const restored = new URL(postgres.url)
    restored.pathname = '/portreeve_restored'
    await using stores = await openStores(restored.href, clock)
    expect(await stores.accounts.findByUsername('ann')).toMatchObject({ id: 'alice' })
  })
})
