//! The `cloudlink` binary.
use cloudlink::config::{Settings, process_environment};
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::load(None, process_environment())?;
    cloudlink::telemetry::start(settings.log.format, &settings.log.filter)?;
    cloudlink::startup::serve(&settings).await
}
