import type { Migration } from './migration.ts'

export const unusableRevocations: Migration = {
  name: '0010-unusable-revocations',
  statements: [`alter table revocation_receiver add column unusable text not null default '[]'`],
}
