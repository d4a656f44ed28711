//! Flows as rows: started, and found by handle, state or user code.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use super::{Column, Store, StoreError, column, parse_column};
use crate::{
    domain::{
        binding::{ClientNetwork, ConsentBinding},
        flow::{FlowError, FlowStatus, ReturnUrl},
        ids::{DeviceId, FlowId, PluginId, SlotAddress},
        json,
        plugin::{Document, RedirectUriKind},
        secret::{BrowserCookie, CodeVerifier, ConfirmCode, FlowState, UserCode},
    },
    vault::lookup_hash,
};

pub(super) const CONFIGURATION: Column = column!("flows", "configuration");
pub(super) const VERIFIER: Column = column!("flows", "verifier");
pub(super) const CALLBACK: Column = column!("flows", "callback");
pub(super) const CONFIRM_CODE: Column = column!("flows", "confirm_code");
pub(super) const STAGED: Column = column!("flows", "staged");

/// What a flow fixes when it starts: the exchange uses this and nothing newer (B01).
#[derive(Debug, Clone)]
pub struct FlowConfiguration {
    /// The slot's effective configuration.
    pub document: Document,
    /// The values of its variables.
    pub variables: BTreeMap<String, String>,
}

/// A flow as it is stored, with the facts that its page and its callback need.
#[derive(Debug)]
pub struct FlowRow {
    /// Its id.
    pub id: FlowId,
    /// The slot to link.
    pub address: SlotAddress,
    /// What people call the device.
    pub device_name: String,
    /// The slot's plugin.
    pub plugin: PluginId,
    /// What people call the plugin's service.
    pub plugin_name: String,
    /// How far it has come at the time of reading; `expired` once its time is up.
    pub status: FlowStatus,
    /// Why it was denied or failed.
    pub error: Option<FlowError>,
    /// What it fixed at the start.
    pub configuration: FlowConfiguration,
    /// The redirect URI it sends.
    pub redirect_uri: Url,
    /// Which of the two that is.
    pub redirect_kind: RedirectUriKind,
    /// Where the browser goes in the end.
    pub return_url: Option<ReturnUrl>,
    /// Whether a code will be asked.
    pub binding: ConsentBinding,
    /// Where the device, or the owner, called from.
    pub device_network: ClientNetwork,
    /// When it started.
    pub created_at: OffsetDateTime,
    /// When it runs out.
    pub expires_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// Where the bound browser called from when it continued.
    pub browser_network: Option<ClientNetwork>,
    /// The PKCE verifier, from `authorizing` on.
    pub verifier: Option<CodeVerifier>,
    /// The code to show, while `confirm`.
    pub confirm_code: Option<ConfirmCode>,
    /// Whether the plugin has acknowledged the tokens.
    pub acknowledged: bool,
    browser_hash: Option<Vec<u8>>,
}

impl FlowRow {
    /// Whether `browser` is the one that continued this flow.
    pub fn is_bound_to(&self, browser: &BrowserCookie) -> bool {
        let hash = browser_hash(browser);
        self.browser_hash
            .as_deref()
            .is_some_and(|bound| aws_lc_rs::constant_time::verify_slices_are_equal(bound, &hash).is_ok())
    }

    /// Whether any browser has continued this flow.
    pub fn is_bound(&self) -> bool {
        self.browser_hash.is_some()
    }
}

pub(super) fn browser_hash(browser: &BrowserCookie) -> [u8; 32] {
    lookup_hash("browser cookie", browser.expose())
}

pub(super) fn state_hash(state: &FlowState) -> [u8; 32] {
    lookup_hash("state", state.expose())
}

macro_rules! select_flow {
    ($name:literal, $condition:literal, $argument:expr) => {
        sqlx::query_as!(
            SealedFlow,
            r#"-- "# + $name + r#"
            select f.id, f.device, f.slot, d.name as device_name, f.plugin, f.plugin_name, f.status, f.error,
                f.configuration, f.redirect_uri, f.redirect_kind, f.return_url, f.binding, f.device_network,
                f.created_at, f.expires_at, f.finished_at, f.browser_hash, f.browser_network, f.verifier,
                f.confirm_code, coalesce(s.acked_version >= f.linked_version, false) as "acknowledged!"
            from flows f join slots s on s.device = f.device and s.name = f.slot join devices d on d.id = f.device
            where "# + $condition,
            $argument
        )
    };
}

impl Store {
    /// A flow by its id.
    pub async fn find_flow(&self, id: FlowId, now: OffsetDateTime) -> Result<Option<FlowRow>, StoreError> {
        let row = select_flow!("find_flow", "f.id = $1", id.0).fetch_optional(&self.pool).await?;
        row.map(|row| self.open_flow(row, now)).transpose()
    }

    /// A flow by the state that it sent to the provider.
    pub async fn find_flow_by_state(
        &self,
        state: &FlowState,
        now: OffsetDateTime,
    ) -> Result<Option<FlowRow>, StoreError> {
        let hash = state_hash(state);
        let row = select_flow!("find_flow_by_state", "f.state_hash = $1", hash.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| self.open_flow(row, now)).transpose()
    }

    /// A flow that waits for a browser, by its user code.
    pub async fn find_pending_by_user_code(
        &self,
        code: &UserCode,
        now: OffsetDateTime,
    ) -> Result<Option<FlowId>, StoreError> {
        let id = sqlx::query_scalar!(
            "-- find_pending_by_user_code
            select id from flows
            where user_code_hash = $1 and status in ('pending', 'authorizing') and expires_at > $2",
            lookup_hash("user code", code.expose()).to_vec(),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(id.map(FlowId))
    }

    fn open_flow(&self, row: SealedFlow, now: OffsetDateTime) -> Result<FlowRow, StoreError> {
        let place = row.id.to_string();
        let stored: FlowStatus = parse_column("flows.status", &row.status)?;
        let timed = matches!(stored, FlowStatus::Pending | FlowStatus::Authorizing | FlowStatus::Confirm);
        let status = if timed && row.expires_at <= now { FlowStatus::Expired } else { stored };
        let verifier = row.verifier.map(|sealed| self.open_text(VERIFIER, &place, &sealed)).transpose()?;
        let confirm_code = match (status, row.confirm_code) {
            (FlowStatus::Confirm, Some(sealed)) => Some(self.open_text(CONFIRM_CODE, &place, &sealed)?),
            _ => None,
        };
        Ok(FlowRow {
            id: FlowId(row.id),
            address: SlotAddress {
                device: DeviceId(row.device),
                slot: parse_column("flows.slot", &row.slot)?,
            },
            device_name: row.device_name,
            plugin: parse_column("flows.plugin", &row.plugin)?,
            plugin_name: row.plugin_name,
            status,
            error: row.error.map(|error| parse_column("flows.error", &error)).transpose()?,
            configuration: self.open_flow_configuration(&place, &row.configuration)?,
            redirect_uri: parse_column("flows.redirect_uri", &row.redirect_uri)?,
            redirect_kind: redirect_kind(&row.redirect_kind)?,
            return_url: row.return_url.map(|url| parse_column("flows.return_url", &url)).transpose()?,
            binding: parse_column("flows.binding", &row.binding)?,
            device_network: parse_column("flows.device_network", &row.device_network)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            finished_at: row.finished_at,
            browser_network: row
                .browser_network
                .map(|network| parse_column("flows.browser_network", &network))
                .transpose()?,
            verifier: verifier.map(|text| CodeVerifier::new(text.as_str())),
            confirm_code: confirm_code.map(|text| ConfirmCode::new(text.as_str())),
            acknowledged: row.acknowledged,
            browser_hash: row.browser_hash,
        })
    }

    pub(super) fn open_flow_configuration(
        &self,
        place: &str,
        sealed: &[u8],
    ) -> Result<FlowConfiguration, StoreError> {
        read_fixed(&self.open(CONFIGURATION, place, sealed)?, CONFIGURATION)
    }
}

/// What a flow fixed, as `column` had it sealed.
pub(super) fn read_fixed(plaintext: &[u8], column: Column) -> Result<FlowConfiguration, StoreError> {
    let misread = || StoreError::Row { column: column.name };
    let mut fixed = json::parse_object(plaintext).map_err(|_| misread())?;
    let Some(Value::Object(document)) = fixed.shift_remove("document") else { return Err(misread()) };
    let variables = fixed.shift_remove("variables").unwrap_or_default();
    let variables = serde_json::from_value(variables).map_err(|_| misread())?;
    Ok(FlowConfiguration { document: Document::new(document), variables })
}

pub(super) fn redirect_word(kind: RedirectUriKind) -> &'static str {
    match kind {
        RedirectUriKind::Shared => "shared",
        RedirectUriKind::Own => "own",
    }
}

pub(super) fn redirect_kind(word: &str) -> Result<RedirectUriKind, StoreError> {
    match word {
        "shared" => Ok(RedirectUriKind::Shared),
        "own" => Ok(RedirectUriKind::Own),
        _ => Err(StoreError::Row { column: "flows.redirect_kind" }),
    }
}

struct SealedFlow {
    id: Uuid,
    device: Uuid,
    slot: String,
    device_name: String,
    plugin: String,
    plugin_name: String,
    status: String,
    error: Option<String>,
    configuration: Vec<u8>,
    redirect_uri: String,
    redirect_kind: String,
    return_url: Option<String>,
    binding: String,
    device_network: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    browser_hash: Option<Vec<u8>>,
    browser_network: Option<String>,
    verifier: Option<Vec<u8>>,
    confirm_code: Option<Vec<u8>>,
    acknowledged: bool,
}
