//! Every sealed column there is: the one list, for what must reach all of them.
//!
//! Whoever adds a sealed column adds it here. A test compares the list with the schema: each column of type `bytea`
//! that is neither a hash nor a public key must be in it. The statements are made from the list at compile
//! time, so a column that is named wrongly does not build.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgExecutor;

use super::{Column, StoreError};
use crate::vault::envelope::KeyId;

/// How many values of a column one key sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCount {
    /// Where.
    pub column: SealedColumn,
    /// By which key; nothing for what does not begin like a sealed value.
    pub key: Option<KeyId>,
    /// How many.
    pub values: u64,
}

/// A sealed value, with the row it belongs to.
pub(super) struct SealedValue {
    pub(super) place: String,
    pub(super) sealed: Vec<u8>,
}

struct HeadCount {
    head: Option<Vec<u8>>,
    values: i64,
}

macro_rules! sealed_columns {
    ($($table:literal: $place:literal | $key:literal | $given:literal | $before:literal {
        $($name:ident = $column:literal,)*
    })*) => {
        /// A sealed column.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum SealedColumn {
            $($(
                #[doc = concat!("`", $table, ".", $column, "`")]
                $name,
            )*)*
        }

        impl SealedColumn {
            /// All.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// Table and column.
            pub fn name(self) -> &'static str {
                self.column().name
            }

            pub(super) fn column(self) -> Column {
                match self {
                    $($(Self::$name => super::column!($table, $column),)*)*
                }
            }

            /// The place that is before all others of the table.
            pub(super) fn beginning(self) -> &'static str {
                match self {
                    $($(Self::$name => $before,)*)*
                }
            }

            async fn heads(self, pool: impl PgExecutor<'_> + Copy) -> sqlx::Result<Vec<HeadCount>> {
                match self {
                    $($(Self::$name => sqlx::query_as!(
                        HeadCount,
                        "-- count_sealed\nselect case when length(" + $column + ") > 1 then substring(" + $column
                            + " from 1 for 2 + get_byte(" + $column + ", 1)) end as head, count(*) as \"values!\"\nfrom "
                            + $table + " where " + $column + " is not null group by 1"
                    )
                    .fetch_all(pool)
                    .await,)*)*
                }
            }

            /// Values behind the place `after` that do not begin with `head`, in the order of the primary key.
            pub(super) async fn otherwise_sealed(
                self,
                pool: impl PgExecutor<'_> + Copy,
                after: &str,
                head: &[u8],
                limit: i64,
            ) -> sqlx::Result<Vec<SealedValue>> {
                match self {
                    $($(Self::$name => sqlx::query_as!(
                        SealedValue,
                        "-- list_otherwise_sealed\nselect " + $place + " as \"place!\", " + $column
                            + " as \"sealed!\"\nfrom " + $table + ", (select $1::text as place) as after\nwhere ("
                            + $key + ") > (" + $given + ") and substring(" + $column
                            + " from 1 for length($2::bytea)) <> $2 order by " + $key + " limit $3",
                        after,
                        head,
                        limit
                    )
                    .fetch_all(pool)
                    .await,)*)*
                }
            }

            /// Puts `new` in the place of `old`; whether `old` was still there.
            pub(super) async fn replace(
                self,
                pool: impl PgExecutor<'_> + Copy,
                place: &str,
                old: &[u8],
                new: &[u8],
            ) -> sqlx::Result<bool> {
                let done = match self {
                    $($(Self::$name => sqlx::query!(
                        "-- reseal\nupdate " + $table + " set " + $column
                            + " = $3 from (select $1::text as place) as at\nwhere (" + $key + ") = (" + $given + ") and "
                            + $column + " = $2",
                        place,
                        old,
                        new
                    )
                    .execute(pool)
                    .await,)*)*
                };
                Ok(done?.rows_affected() == 1)
            }
        }
    };
}

// A table: the place of a row, as it was sealed | its primary key | the same, read from a `place` | before the first.
sealed_columns! {
    "signing_keys": "kid" | "kid" | "place" | "" {
        SigningKeyPkcs8 = "pkcs8",
    }
    "plugins": "id" | "id" | "place" | "" {
        PluginConfiguration = "configuration",
    }
    "slots": "device || '/' || name" | "device, name"
        | "split_part(place, '/', 1)::uuid, split_part(place, '/', 2)" | "00000000-0000-0000-0000-000000000000/" {
        SlotConfiguration = "configuration",
        SlotOverrides = "overrides",
        SlotClientSecret = "client_secret",
        SlotHandle = "handle",
        SlotWebhook = "webhook",
    }
    "grants": "device || '/' || slot" | "device, slot"
        | "split_part(place, '/', 1)::uuid, split_part(place, '/', 2)" | "00000000-0000-0000-0000-000000000000/" {
        GrantTokens = "tokens",
    }
    "flows": "id::text" | "id" | "place::uuid" | "00000000-0000-0000-0000-000000000000" {
        FlowConfiguration = "configuration",
        FlowVerifier = "verifier",
        FlowCallback = "callback",
        FlowConfirmCode = "confirm_code",
        FlowStaged = "staged",
    }
    "revocation_jobs": "id::text" | "id" | "place::uuid" | "00000000-0000-0000-0000-000000000000" {
        RevocationConfiguration = "configuration",
        RevocationTokens = "tokens",
    }
    "account_links": "id::text" | "id" | "place::uuid" | "00000000-0000-0000-0000-000000000000" {
        AccountLinkConfiguration = "configuration",
        AccountLinkVerifier = "verifier",
        AccountLinkTokens = "tokens",
    }
    "account_refreshes": "encode(token_hash, 'hex')" | "token_hash" | "decode(place, 'hex')" | "" {
        AccountRefreshAnswer = "answer",
    }
    "relay_requests": "id::text" | "id" | "place::uuid" | "00000000-0000-0000-0000-000000000000" {
        RelayFrame = "frame",
        RelayAnswer = "answer",
    }
    "sign_ins": "id::text" | "id" | "place::uuid" | "00000000-0000-0000-0000-000000000000" {
        SignInUserCode = "user_code",
        SignInClientState = "client_state",
        SignInProviderSecrets = "provider_secrets",
    }
}

/// How many values each key sealed, of every sealed column that the database has: before a migration it may lack
/// some. Nothing is opened.
pub(super) async fn count_sealed(pool: impl PgExecutor<'_> + Copy) -> Result<Vec<SealedCount>, StoreError> {
    let there = sqlx::query_scalar!(
        r#"-- list_binary_columns
        select c.relname || '.' || a.attname as "name!" from pg_attribute a join pg_class c on c.oid = a.attrelid
        where a.atttypid = 'bytea'::regtype and not a.attisdropped and pg_table_is_visible(c.oid)"#
    )
    .fetch_all(pool)
    .await?;
    let columns = SealedColumn::ALL.iter().filter(|column| there.iter().any(|name| name == column.name()));
    let counted: Vec<Vec<SealedCount>> = stream::iter(columns)
        .then(async |column| {
            let heads = column.heads(pool).await?;
            let count = |found: HeadCount| SealedCount {
                column: *column,
                key: found.head.and_then(|head| KeyId::of_head(&head)),
                values: found.values.unsigned_abs(),
            };
            Ok::<_, StoreError>(heads.into_iter().map(count).collect())
        })
        .try_collect()
        .await?;
    Ok(counted.into_iter().flatten().collect())
}
