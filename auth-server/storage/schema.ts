/** The tables, as Kysely needs them. JSON is kept as text, booleans as 0 and 1, times in ms. */
export interface Schema {
  account: {
    id: string
    username: string
    password_hash: string | null
    roles: string
    groups: string
    profile: string
    disabled: number
    access_ended_at: number | null
    owner: string
    created_at: number
    updated_at: number
  }
  client: {
    id: string
    settings: string
    disabled: number
    owner: string
    created_at: number
    updated_at: number
  }
  signing_key: {
    kid: string
    algorithm: string
    public_jwk: string
    sealed_private_jwk: string
    announced_at: number
    active_at: number
    retired_at: number | null
    purged_at: number | null
  }
  engine_model: EngineModelTable
  revocation: {
    sequence: number
    kind: string
    subject: string
    reason: string
    revoked_at: number
    expires_at: number
  }
  /** One row. */
  revocation_feed: { single: number; id: string }
  revocation_receiver: {
    client_id: string
    receiver: string
    place: number
    reported_at: number
    seen_at: number
    /** JSON: see `UnusablePlaces`. */
    unusable: string
  }
  audit_entry: {
    sequence: number
    happened_at: number
    event: string
    actor: string
    account_id: string | null
    client_id: string | null
    request_id: string | null
    facts: string
    previous: string
    hash: string
  }
  api_key: {
    id: string
    account_id: string
    name: string
    hash: string
    resource: string
    scopes: string
    created_at: number
    expires_at: number | null
    last_used_at: number | null
    last_used_from: string | null
    revoked_at: number | null
  }
  logout_delivery: {
    id: string
    client_id: string
    account_id: string
    sid: string
    queued_at: number
    due_at: number
    attempts: number
  }
  registration_invite: {
    id: string
    hash: string
    label: string
    uses_left: number
    created_at: number
    expires_at: number
  }
  client_registration: {
    client_id: string
    token_hash: string
    registered_at: number
    used_at: number | null
  }
  tombstone: { kind: string; key: string; expires_at: number }
  schema_migration: { name: string; checksum: string; applied_at: number }
}

export interface EngineModelTable {
  model: string
  key: string
  payload: string
  grant_id: string | null
  uid: string | null
  user_code: string | null
  account_id: string | null
  client_id: string | null
  replaces: string | null
  consumed_at: number | null
  expires_at: number | null
  written_at: number
  /** Of sessions and grants: when and from where the person, or the app, has come last, and with what. */
  used_at: number | null
  used_from: string | null
  used_with: string | null
}
