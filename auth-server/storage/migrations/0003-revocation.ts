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
    `insert into revocation (sequence, kind, subject, reason, revoked_at, expires_at)
      select
        row_number() over (order by expires_at, kind, key),
        case kind when 'Grant' then 'grant' else 'session' end,
        key,
        case kind when 'Grant' then 'grant_revoked' else 'signed_out' end,
        expires_at - 172800000,
        expires_at
      from tombstone where kind in ('Grant', 'sid')`,
    `delete from tombstone where kind in ('Grant', 'sid')`,
    `create index revocation_subject on revocation (kind, subject)`,
    `create index revocation_expiry on revocation (expires_at)`,
  ],
}
