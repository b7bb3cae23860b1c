//! TLS of the clients. What a server shows is held against the certificates that the system trusts, or those that
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place, as OpenSSL reads them.

use std::io;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::crypto::ring;
use tokio::sync::OnceCell;

/// What makes connections with TLS, and without for a URL that asks for none.
pub(crate) type TlsConnector = HttpsConnector<HttpConnector>;

/// Returns whether a URL asks for TLS.
pub(crate) fn is_asked(url: &Uri) -> bool {
    url.scheme() == Some(&Scheme::HTTPS)
}

/// Returns what makes connections with TLS over those of `plain`. The certificates are read once, by whoever comes
/// first.
///
/// # Errors
/// When no certificate is found that is trusted.
pub(crate) async fn connector(mut plain: HttpConnector) -> io::Result<TlsConnector> {
    static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let config = CONFIG.get_or_try_init(|| async {
        let read = tokio::task::spawn_blocking(config).await;
        read.map_err(io::Error::other)?
    });
    let config = Arc::clone(config.await?);
    plain.enforce_http(false);
    Ok(HttpsConnector::from((plain, config)))
}

fn config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = config.with_native_roots()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
