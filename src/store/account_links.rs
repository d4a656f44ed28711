//! Home Assistant's attempts to link an account, as rows: started, found, and looked at by the socket that waits.

use serde_json::json;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use super::{
    Column, Store, StoreError, column,
    flows::{FlowConfiguration, browser_hash, read_fixed, redirect_kind, redirect_word, state_hash},
    parse_column,
};
use crate::domain::{
    account_link::{AccountLinkError, AccountLinkStatus, ServiceDomain},
    binding::ClientNetwork,
    ids::{AccountLinkId, PluginId},
    plugin::RedirectUriKind,
    secret::{BrowserCookie, CodeVerifier, FlowState},
    tokens::TokenSet,
};

pub(super) const CONFIGURATION: Column = column!("account_links", "configuration");
pub(super) const VERIFIER: Column = column!("account_links", "verifier");
pub(super) const TOKENS: Column = column!("account_links", "tokens");

/// An attempt to start.
pub struct NewAccountLink<'a> {
    /// Its id.
    pub id: AccountLinkId,
    /// The integration that asks.
    pub service: &'a ServiceDomain,
    /// The plugin that knows the provider.
    pub plugin: &'a PluginId,
    /// What people call the plugin's service.
    pub plugin_name: &'a str,
    /// What it fixes.
    pub configuration: &'a FlowConfiguration,
    /// The redirect URI it will send.
    pub redirect_uri: &'a str,
    /// Which of the two that is.
    pub redirect_kind: RedirectUriKind,
    /// Where the client calls from.
    pub client_network: ClientNetwork,
    /// When it runs out.
    pub expires_at: OffsetDateTime,
}

/// An attempt as it is stored, with what its page and its callback need.
#[derive(Debug)]
pub struct AccountLinkRow {
    /// Its id.
    pub id: AccountLinkId,
    /// The integration that asks.
    pub service: ServiceDomain,
    /// The plugin that knows the provider.
    pub plugin: PluginId,
    /// What people call the plugin's service.
    pub plugin_name: String,
    /// How far it has come at the time of reading; `expired` once its time is up.
    pub status: AccountLinkStatus,
    /// Why it was denied or failed.
    pub error: Option<AccountLinkError>,
    /// What it fixed.
    pub configuration: FlowConfiguration,
    /// The redirect URI it sends.
    pub redirect_uri: Url,
    /// Which of the two that is.
    pub redirect_kind: RedirectUriKind,
    /// Where the client called from.
    pub client_network: ClientNetwork,
    /// When it started.
    pub created_at: OffsetDateTime,
    /// When it runs out.
    pub expires_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// The PKCE verifier, from `authorizing` on.
    pub verifier: Option<CodeVerifier>,
    browser_hash: Option<Vec<u8>>,
}

/// How an attempt stands, for the socket that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLinkStanding {
    /// How far it has come; `expired` once its time is up.
    pub status: AccountLinkStatus,
    /// Why it was denied or failed.
    pub error: Option<AccountLinkError>,
}

impl AccountLinkRow {
    /// Whether `browser` is the one that continued.
    pub fn is_bound_to(&self, browser: &BrowserCookie) -> bool {
        let hash = browser_hash(browser);
        self.browser_hash
            .as_deref()
            .is_some_and(|bound| aws_lc_rs::constant_time::verify_slices_are_equal(bound, &hash).is_ok())
    }

    /// Whether any browser has continued.
    pub fn is_bound(&self) -> bool {
        self.browser_hash.is_some()
    }
}

macro_rules! select_account_link {
    ($name:literal, $condition:literal, $argument:expr) => {
        sqlx::query_as!(
            SealedAccountLink,
            r#"-- "# + $name + r#"
            select id, service, plugin, plugin_name, status, error, configuration, redirect_uri, redirect_kind,
                client_network, created_at, expires_at, finished_at, browser_hash, verifier
            from account_links where "# + $condition,
            $argument
        )
    };
}

impl Store {
    /// Starts an attempt, unless `most` are under way. Whether it was started.
    pub async fn start_account_link(
        &self,
        new: &NewAccountLink<'_>,
        most: u32,
        now: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal_account_configuration(new.id, new.configuration);
        let done = sqlx::query!(
            "-- start_account_link
            insert into account_links (id, service, plugin, plugin_name, status, configuration, redirect_uri,
                redirect_kind, client_network, created_at, expires_at)
            select $1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10
            where (select count(*) from account_links
                   where status in ('pending', 'authorizing', 'exchanging', 'granted') and expires_at > $9) < $11",
            new.id.0,
            new.service.as_str(),
            new.plugin.as_str(),
            new.plugin_name,
            sealed,
            new.redirect_uri,
            redirect_word(new.redirect_kind),
            new.client_network.to_string(),
            now,
            new.expires_at,
            i64::from(most)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// An attempt by its id.
    pub async fn find_account_link(
        &self,
        id: AccountLinkId,
        now: OffsetDateTime,
    ) -> Result<Option<AccountLinkRow>, StoreError> {
        let row =
            select_account_link!("find_account_link", "id = $1", id.0).fetch_optional(&self.pool).await?;
        row.map(|row| self.open_account_link(row, now)).transpose()
    }

    /// An attempt by the state that it sent to the provider.
    pub async fn find_account_link_by_state(
        &self,
        state: &FlowState,
        now: OffsetDateTime,
    ) -> Result<Option<AccountLinkRow>, StoreError> {
        let hash = state_hash(state);
        let row = select_account_link!("find_account_link_by_state", "state_hash = $1", hash.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| self.open_account_link(row, now)).transpose()
    }

    /// How an attempt stands; nothing once it is forgotten. Opens nothing.
    pub async fn find_account_link_standing(
        &self,
        id: AccountLinkId,
        now: OffsetDateTime,
    ) -> Result<Option<AccountLinkStanding>, StoreError> {
        let row = sqlx::query!(
            "-- find_account_link_standing
            select status, error, expires_at from account_links where id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        let standing = row.map(|row| {
            Ok(AccountLinkStanding {
                status: status(&row.status, row.expires_at, now)?,
                error: error(row.error.as_deref())?,
            })
        });
        standing.transpose()
    }

    /// The tokens of an attempt that was granted.
    pub async fn find_account_link_tokens(&self, id: AccountLinkId) -> Result<Option<TokenSet>, StoreError> {
        let sealed = sqlx::query_scalar!(
            "-- find_account_link_tokens
            select tokens as \"tokens!\" from account_links where id = $1 and status = 'granted'",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let plaintext = self.open(TOKENS, &id.to_string(), &sealed)?;
        let tokens = TokenSet::from_plaintext(&plaintext);
        tokens.map(Some).map_err(|_| StoreError::Row { column: TOKENS.name })
    }

    pub(super) fn seal_account_configuration(&self, id: AccountLinkId, fixed: &FlowConfiguration) -> Vec<u8> {
        let fixed = json!({ "document": fixed.document.members(), "variables": fixed.variables });
        self.seal(CONFIGURATION, &id.to_string(), fixed.to_string().as_bytes())
    }

    fn open_account_link(
        &self,
        row: SealedAccountLink,
        now: OffsetDateTime,
    ) -> Result<AccountLinkRow, StoreError> {
        let place = row.id.to_string();
        let verifier = row.verifier.map(|sealed| self.open_text(VERIFIER, &place, &sealed)).transpose()?;
        let configuration = self.open(CONFIGURATION, &place, &row.configuration)?;
        Ok(AccountLinkRow {
            id: AccountLinkId(row.id),
            service: parse_column("account_links.service", &row.service)?,
            plugin: parse_column("account_links.plugin", &row.plugin)?,
            plugin_name: row.plugin_name,
            status: status(&row.status, row.expires_at, now)?,
            error: error(row.error.as_deref())?,
            configuration: read_fixed(&configuration, CONFIGURATION)?,
            redirect_uri: parse_column("account_links.redirect_uri", &row.redirect_uri)?,
            redirect_kind: redirect_kind(&row.redirect_kind)?,
            client_network: parse_column("account_links.client_network", &row.client_network)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            finished_at: row.finished_at,
            verifier: verifier.map(|text| CodeVerifier::new(text.as_str())),
            browser_hash: row.browser_hash,
        })
    }
}

/// An exchange under way is not cut off: it ends by itself, or is given up.
fn status(
    word: &str,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<AccountLinkStatus, StoreError> {
    let stored: AccountLinkStatus = parse_column("account_links.status", word)?;
    let timed = matches!(
        stored,
        AccountLinkStatus::Pending | AccountLinkStatus::Authorizing | AccountLinkStatus::Granted
    );
    Ok(if timed && expires_at <= now { AccountLinkStatus::Expired } else { stored })
}

fn error(word: Option<&str>) -> Result<Option<AccountLinkError>, StoreError> {
    word.map(|word| parse_column("account_links.error", word)).transpose()
}

struct SealedAccountLink {
    id: Uuid,
    service: String,
    plugin: String,
    plugin_name: String,
    status: String,
    error: Option<String>,
    configuration: Vec<u8>,
    redirect_uri: String,
    redirect_kind: String,
    client_network: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    browser_hash: Option<Vec<u8>>,
    verifier: Option<Vec<u8>>,
}
