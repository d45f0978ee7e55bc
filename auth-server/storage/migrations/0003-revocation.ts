import type { Migration } from './migration.ts'

export const revocation: Migration = {
  name: '0003-revocation',
  statements: [
    `create table revocation (
      sequence bigint primary key,
      kind text not null,
      subject text not null,
      reason text not null,
      revoked_at bigint not null,
      expires_at bigint not null
    )`,
    `create index revocation_subject on revocation (kind, subject)`,
    `create index revocation_expiry on revocation (expires_at)`,
  ],
}
