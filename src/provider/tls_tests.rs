//! The guarded client against certificates that are not what they should be (E01).

use std::{sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{
    Limits, ProviderClient, SendError,
    fake::{FixedEntropy, Provider, ScriptedLookup, Setup, answer, read_request, request},
};
use crate::domain::{address::EgressPolicy, plugin::EndpointTemplate};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A server certificate of `issuer` for `name`, good until the given year.
async fn provider(issuer: &Authority, name: &str, until: i32) -> Provider {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.not_before = date_time_ymd(2015, 1, 1);
    parameters.not_after = date_time_ymd(until, 1, 1);
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let configuration = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    Provider::serving(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            read_request(&mut stream).await?;
            stream.write_all(&answer(200, "", b"{}")).await?;
            stream.shutdown().await
        }
    })
    .await
}

async fn ask(provider: &Provider, roots: &str) -> Result<u16, SendError> {
    let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
    let limits = Limits { exchange: Duration::from_secs(20), ..Limits::default() };
    let egress = EgressPolicy::AllowPrivate;
    let client = ProviderClient::with_lookup(egress, limits, roots.as_bytes(), lookup).unwrap();
    let url = format!("https://p.example:{}/token", provider.port());
    client.send(request(&url)).await.map(|answer| answer.status)
}

#[tokio::test]
async fn e01_a_private_authority_is_trusted_where_it_is_configured_and_only_there() {
    let issuer = authority();
    let provider = provider(&issuer, "p.example", 2090).await;
    assert_eq!(ask(&provider, &issuer.pem()).await.unwrap(), 200);
    assert!(matches!(ask(&provider, "").await, Err(SendError::Unreachable(_))));
    assert!(matches!(ask(&provider, &authority().pem()).await, Err(SendError::Unreachable(_))));
}

#[tokio::test]
async fn e01_a_certificate_of_another_name_is_refused() {
    let issuer = authority();
    let provider = provider(&issuer, "other.example", 2090).await;
    assert!(matches!(ask(&provider, &issuer.pem()).await, Err(SendError::Unreachable(_))));
}

#[tokio::test]
async fn e01_an_expired_certificate_is_refused() {
    let issuer = authority();
    let provider = provider(&issuer, "p.example", 2020).await;
    assert!(matches!(ask(&provider, &issuer.pem()).await, Err(SendError::Unreachable(_))));
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_told_as_that() {
    let (issuer, stranger) = (authority(), authority());
    for (provider, roots, expected) in [
        (provider(&issuer, "p.example", 2090).await, &issuer, None),
        (provider(&issuer, "p.example", 2090).await, &stranger, Some("bad_certificate")),
        (provider(&issuer, "other.example", 2090).await, &issuer, Some("bad_certificate")),
        (provider(&issuer, "p.example", 2020).await, &issuer, Some("bad_certificate")),
    ] {
        let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
        let (egress, limits) = (EgressPolicy::AllowPrivate, Limits::default());
        let client = ProviderClient::with_lookup(egress, limits, roots.pem().as_bytes(), lookup).unwrap();
        let mut setup = Setup::new();
        let endpoint = format!("https://p.example:{}/", provider.port());
        let endpoint = EndpointTemplate::parse(&endpoint, egress).unwrap();
        setup.configuration.auth_endpoint = endpoint.clone();
        setup.configuration.token_endpoint = endpoint;
        let findings = client.examine(&setup.configuration, None, &FixedEntropy(1)).await;
        let found = findings.iter().find(|finding| finding.field.as_deref() == Some("/auth_endpoint"));
        assert_eq!(found.map(|finding| finding.code), expected);
    }
}
