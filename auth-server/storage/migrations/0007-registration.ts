import type { Migration } from './migration.ts'

export const registration: Migration = {
  name: '0007-registration',
  statements: [
    `create table registration_invite (
      id text not null primary key,
      hash text not null unique,
      label text not null,
      uses_left bigint not null,
      created_at bigint not null,
      expires_at bigint not null
    )`,
    `create index registration_invite_expiry on registration_invite (expires_at)`,
    `create table client_registration (
      client_id text not null primary key,
      token_hash text not null,
      registered_at bigint not null,
      used_at bigint
    )`,
    `create index client_registration_unused on client_registration (registered_at) where used_at is null`,
  ],
}
