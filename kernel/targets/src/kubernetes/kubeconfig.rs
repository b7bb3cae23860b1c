//! The kubeconfig files, read as kubectl reads them: which cluster is meant, how it is reached, and as whom.
//!
//! The client's settings are made here: the library would look for proxies in the environment of the process, by other
//! rules than kubectl.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use code_deploy_engine::spec::KubernetesFile;
use code_deploy_engine::target::TargetError;
use http::Uri;
use kube::Config;
use kube::config::{
    AuthInfo, Cluster, Context, ExecAuthCluster, ExecConfig, Kubeconfig, KubeconfigError,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::proxy::Proxy;
use crate::failure::{code, failed};
use crate::settings::Lookup;

/// The file of a user who names none, below the home folder.
const USUAL: &str = ".kube/config";

/// The namespace of a context that names none.
const USUAL_NAMESPACE: &str = "default";

const NEXT: &str = "Look at what there is (`kubectl config get-contexts`), name the files in KUBECONFIG, and the \
                    context as `kubernetes.context` of the environment.";

/// The cluster that files mean.
pub struct Meant {
    /// How it is reached, and as whom; without what a plugin gives.
    pub config: Config,
    /// The plugin that gives the credentials, where there is one.
    pub plugin: Option<ExecConfig>,
    /// The proxy on the way, where there is one.
    pub proxy: Option<Proxy>,
}

/// Returns the cluster that an environment means: of the files in `KUBECONFIG` or the user's own, by the context that the
/// environment names or else the current one. Where there are no files, it is the cluster in which this program runs.
///
/// # Errors
/// `CD0531`, with the contexts that there are.
pub fn find(wanted: &KubernetesFile, lookup: &Lookup) -> Result<Meant, TargetError> {
    let named = lookup("KUBECONFIG").filter(|paths| !paths.is_empty());
    let (from, paths): (String, Vec<PathBuf>) = match &named {
        Some(paths) => {
            let all = std::env::split_paths(paths);
            let all = all.filter(|path| !path.as_os_str().is_empty());
            (format!("KUBECONFIG ({paths})"), all.collect())
        }
        None => {
            let home = lookup("HOME").filter(|home| !home.is_empty());
            let own = home.map(|home| Path::new(&home).join(USUAL));
            (format!("~/{USUAL}"), own.into_iter().collect())
        }
    };
    let found = match read(&paths) {
        Ok(Some(files)) => chosen(files, wanted.context.as_deref(), lookup),
        Ok(None) if named.is_none() && wanted.context.is_none() => around(lookup),
        Ok(None) => Err("there is no such file, or nothing in it".to_owned()),
        Err(what) => Err(what),
    };
    found.map_err(|what| {
        let what =
            format!("{from} does not say how a cluster is reached: {what}; nothing was changed");
        failed(code::CLUSTER_FILE, None, what, NEXT)
    })
}

/// Reads files one over the other: what the first says holds. One that is not there says nothing.
fn read(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, String> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        let mut file = match Kubeconfig::read_from(path) {
            Ok(file) => file,
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == ErrorKind::NotFound => {
                continue;
            }
            Err(error) => return Err(unread(path, &error)),
        };
        // No context is set, and not one without a name.
        file.current_context.take_if(|name| name.is_empty());
        let merging = merged.merge(file);
        merged = merging.map_err(|error| unread(path, &error))?;
    }
    let says_something = !merged.contexts.is_empty() || !merged.clusters.is_empty();
    Ok(says_something.then_some(merged))
}

/// Returns why a file cannot be read, and nothing of what stands in it.
fn unread(path: &Path, error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, _) => format!("{}: {error}", path.display()),
        KubeconfigError::Parse(error) => {
            let error = error.without_snippet();
            let at = error.location().map(|at| format!(":{}", at.line()));
            let at = at.unwrap_or_default();
            format!(
                "{}{at}: it is no kubeconfig file that can be read",
                path.display()
            )
        }
        error => format!("{}: {error}", path.display()),
    }
}

/// Returns the cluster of a context.
fn chosen(files: Kubeconfig, context: Option<&str>, lookup: &Lookup) -> Result<Meant, String> {
    let name = context.or(files.current_context.as_deref());
    let Some(name) = name else {
        return Err(format!("no context is the current one{}", others(&files)));
    };
    let found = files.contexts.iter().find(|one| one.name == name);
    let Some(context) = found.and_then(|one| one.context.clone()) else {
        return Err(format!("no context is called {name}{}", others(&files)));
    };
    let cluster = files.clusters.into_iter();
    let cluster = cluster
        .filter(|one| one.name == context.cluster)
        .find_map(|one| one.cluster);
    let Some(mut cluster) = cluster else {
        let cluster = &context.cluster;
        return Err(format!(
            "the context {name} is one of the cluster {cluster}, which is not described"
        ));
    };
    for empty in [
        &mut cluster.certificate_authority_data,
        &mut cluster.proxy_url,
        &mut cluster.tls_server_name,
    ] {
        empty.take_if(|value| value.is_empty());
    }
    // An account that is not described is nobody, for kubectl too.
    let mut accounts = files.auth_infos.into_iter();
    let account = accounts.find(|one| Some(&one.name) == context.user.as_ref());
    let account = account.and_then(|one| one.auth_info);
    meant(context, cluster, account.unwrap_or_default(), lookup)
}

/// Returns which contexts there are, in words that follow others.
fn others(files: &Kubeconfig) -> String {
    let names: Vec<&str> = files.contexts.iter().map(|one| one.name.as_str()).collect();
    match names.as_slice() {
        [] => ", and there is none".to_owned(),
        names => format!("; there are {}", names.join(", ")),
    }
}

fn meant(
    context: Context,
    cluster: Cluster,
    mut account: AuthInfo,
    lookup: &Lookup,
) -> Result<Meant, String> {
    let plugin = plugin_of(&mut account, &cluster)?;
    let mut config = Config::new(server_of(&context.cluster, &cluster)?);
    let namespace = context.namespace.filter(|name| !name.is_empty());
    config.default_namespace = namespace.unwrap_or_else(|| USUAL_NAMESPACE.to_owned());
    config.root_cert = authorities(&cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression = cluster.disable_compression.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name;
    config.auth_info = account;
    let proxy = match &cluster.proxy_url {
        Some(url) => Some(Proxy::of_kubeconfig(url)?),
        None => Proxy::of_environment(&config.cluster_url, lookup)?,
    };
    Ok(by_way_of(proxy, config, plugin))
}

/// Returns the cluster in which this program runs.
fn around(lookup: &Lookup) -> Result<Meant, String> {
    let config = Config::incluster().map_err(|error| {
        format!("there is no such file, and this program does not run in a cluster ({error})")
    })?;
    let proxy = Proxy::of_environment(&config.cluster_url, lookup)?;
    Ok(by_way_of(proxy, config, None))
}

fn by_way_of(proxy: Option<Proxy>, mut config: Config, plugin: Option<ExecConfig>) -> Meant {
    config.proxy_url = proxy.as_ref().map(|proxy| proxy.url().clone());
    let is_tls = |url: &Uri| url.scheme_str() == Some("https");
    let shows_certificates =
        is_tls(&config.cluster_url) || config.proxy_url.as_ref().is_some_and(is_tls);
    if config.accept_invalid_certs || !shows_certificates {
        // The authorities of the system, which it may not have, are not looked for.
        config.root_cert.get_or_insert_default();
    }
    Meant {
        config,
        plugin,
        proxy,
    }
}

/// Takes the plugin out of an account, so that nobody else runs it. Where the account has something else to sign in with,
/// that holds.
fn plugin_of(account: &mut AuthInfo, cluster: &Cluster) -> Result<Option<ExecConfig>, String> {
    let Some(mut plugin) = account.exec.take() else {
        return Ok(None);
    };
    let has_password = account.username.is_some() && account.password.is_some();
    let has_token = account.token.is_some() || account.token_file.is_some();
    if has_password || has_token || account.auth_provider.is_some() {
        return Ok(None);
    }
    if plugin.provide_cluster_info {
        let told = ExecAuthCluster::try_from(cluster).map_err(|error| error.to_string())?;
        plugin.cluster = Some(told);
    }
    Ok(Some(plugin))
}

fn server_of(name: &str, cluster: &Cluster) -> Result<Uri, String> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let url = server.parse::<Uri>().ok();
    let url = url.filter(|url| matches!(url.scheme_str(), Some("https" | "http")));
    url.filter(|url| url.host().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| {
            format!("the server of the cluster {name} is no address that begins with https://")
        })
}

/// Returns the certificates of the authorities by which the server is known, where the file names some.
fn authorities(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let read = ExecAuthCluster::try_from(cluster).map_err(|error| error.to_string())?;
    let Some(text) = read.certificate_authority_data else {
        return Ok(None);
    };
    let certificates = CertificateDer::pem_slice_iter(&text);
    let certificates: Result<Vec<_>, _> = certificates
        .map(|one| one.map(|certificate| certificate.to_vec()))
        .collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("its certificate authority is no certificate (PEM)".to_owned())
        }
        Ok(certificates) => Ok(Some(certificates)),
        Err(error) => Err(format!("its certificate authority cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
