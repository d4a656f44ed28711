//! The `cloudlink` command.

use std::process::ExitCode;

use clap::Parser as _;
use cloudlink::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Fails only where a provider is installed already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cloudlink::cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
