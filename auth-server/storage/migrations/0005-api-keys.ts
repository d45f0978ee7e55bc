import type { Migration } from './migration.ts'

export const apiKeys: Migration = {
  name: '0005-api-keys',
  statements: [
    `create table api_key (
      id text not null primary key,
      account_id text not null,
      name text not null,
      hash text not null unique,
      resource text not null,
      scopes text not null,
      created_at bigint not null,
      expires_at bigint,
      last_used_at bigint,
      revoked_at bigint
    )`,
    `create index api_key_account on api_key (account_id)`,
    `create index api_key_expiry on api_key (expires_at) where expires_at is not null`,
    `create index api_key_revoked on api_key (revoked_at) where revoked_at is not null`,
  ],
}
