import type { Migration } from './migration.ts'

export const audit: Migration = {
  name: '0004-audit',
  statements: [
    `create table audit_entry (
      sequence bigint not null primary key,
      happened_at bigint not null,
      event text not null,
      actor text not null,
      account_id text,
      client_id text,
      request_id text,
      facts text not null,
      previous text not null,
      hash text not null
    )`,
    `create index audit_entry_account on audit_entry (account_id, sequence) where account_id is not null`,
    `create index audit_entry_client on audit_entry (client_id, sequence) where client_id is not null`,
    `create index audit_entry_time on audit_entry (happened_at)`,
  ],
}
