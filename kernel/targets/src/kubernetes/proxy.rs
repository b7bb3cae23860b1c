//! The proxy on the way to the API server, found as kubectl finds it.
//!
//! The `proxy-url` of a kubeconfig file holds always. What the environment names holds by the rules of Go's `net/http`,
//! with which kubectl asks (<https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>).

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

use crate::settings::Lookup;

/// A proxy through which the API server is asked. It is shown without user and password.
#[derive(Clone)]
pub struct Proxy {
    url: Uri,
    shown: String,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Proxy {
    /// Returns the proxy that a kubeconfig file names as `proxy-url` of a cluster.
    ///
    /// # Errors
    /// In words, when it is no address of a proxy.
    pub fn of_kubeconfig(url: &str) -> Result<Self, String> {
        Self::parse(url, "the `proxy-url` of the kubeconfig file")
    }

    /// Returns the proxy that the environment names for a server, if there is one for it.
    ///
    /// # Errors
    /// In words, when the variable does not hold an address of a proxy.
    pub fn of_environment(server: &Uri, lookup: &Lookup) -> Result<Option<Self>, String> {
        let names = match server.scheme_str() {
            Some("http") => ["HTTP_PROXY", "http_proxy"],
            _ => ["HTTPS_PROXY", "https_proxy"],
        };
        let Some((name, proxy)) = first(lookup, names) else {
            return Ok(None);
        };
        let direct = first(lookup, ["NO_PROXY", "no_proxy"]);
        let direct = direct.map(|(_, list)| list).unwrap_or_default();
        if is_direct(server, &direct) {
            return Ok(None);
        }
        let proxy = match proxy.contains("://") {
            true => proxy,
            false => format!("http://{proxy}"),
        };
        Self::parse(&proxy, name).map(Some)
    }

    /// Returns where it is, with user and password.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    fn parse(text: &str, named: &str) -> Result<Self, String> {
        // What stands there may hold a password, and is not repeated.
        let unfit = || {
            format!(
                "{named} is no address of a proxy that is known: http://HOST:PORT, https://HOST:PORT \
                 and socks5://HOST:PORT are"
            )
        };
        let given: Uri = text.trim().parse().map_err(|_| unfit())?;
        let (Some(scheme), Some(authority)) = (given.scheme_str(), given.authority()) else {
            return Err(unfit());
        };
        let (scheme, usual) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", 80),
            "https" => ("https", 443),
            // Either way it is the proxy that looks names up.
            "socks5" | "socks5h" => ("socks5", 1080),
            _ => return Err(unfit()),
        };
        if authority.host().is_empty() {
            return Err(unfit());
        }
        let port = authority.port_u16().unwrap_or(usual);
        let address = format!("{}:{port}", authority.host());
        let shown = format!("{scheme}://{address}");
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let authority = match user {
            None => address,
            Some(_) if scheme == "socks5" => {
                return Err(format!(
                    "{named} has a user for {shown}, and a SOCKS proxy that asks for one is not known"
                ));
            }
            Some(user) => format!("{}@{address}", credentials(user)),
        };
        let url = Uri::builder().scheme(scheme).authority(authority);
        let url = url.path_and_query("/").build().map_err(|_| unfit())?;
        Ok(Self { url, shown })
    }
}

/// Returns user and password as the client reads them: up to the first `@`, with a colon in between.
fn credentials(user: &str) -> String {
    let colon = if user.contains(':') { "" } else { ":" };
    format!("{}{colon}", user.replace('@', "%40"))
}

/// Returns the first of these variables that has a value, with its name.
fn first(lookup: &Lookup, names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let value = lookup(name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}

/// A server, as entries of `NO_PROXY` name it.
struct Server {
    name: String,
    port: String,
    address: Option<IpAddr>,
}

impl Server {
    fn of(url: &Uri) -> Option<Self> {
        let name = url.host()?.to_ascii_lowercase();
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let usual = match url.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        Some(Self {
            name: name.to_owned(),
            port: url.port_u16().unwrap_or(usual).to_string(),
            address: name.parse().ok().map(|ip: IpAddr| ip.to_canonical()),
        })
    }

    fn is_this_machine(&self) -> bool {
        self.name == "localhost" || self.address.is_some_and(|ip| ip.is_loopback())
    }

    fn is_named_by(&self, entry: &str) -> bool {
        if entry == "*" {
            return true;
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return self.address.is_some_and(|ip| network.contains(&ip));
        }
        let (host, port) = parts_of(entry);
        if port.is_some_and(|port| !port.is_empty() && port != self.port) {
            return false;
        }
        match (host.parse::<IpAddr>(), self.address) {
            (Ok(named), Some(own)) => named.to_canonical() == own,
            (Ok(_), None) | (Err(_), Some(_)) => false,
            (Err(_), None) => self.is_of_domain(host),
        }
    }

    /// `example.org` is that name and all below it, `.example.org` and `*.example.org` only those below.
    fn is_of_domain(&self, domain: &str) -> bool {
        let only_below = domain
            .strip_prefix("*.")
            .or_else(|| domain.strip_prefix('.'));
        let domain = only_below.unwrap_or(domain);
        if domain.is_empty() {
            return false;
        }
        let above = self.name.strip_suffix(domain);
        above.is_some_and(|above| match above {
            "" => only_below.is_none(),
            above => above.ends_with('.'),
        })
    }
}

/// Returns host and port of an entry of `NO_PROXY`: an address with colons has a port only behind brackets.
fn parts_of(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
            (without_brackets(host), Some(port))
        }
        _ => (without_brackets(entry), None),
    }
}

fn without_brackets(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inside.unwrap_or(host)
}

/// Returns whether a server is asked without the proxy of the environment.
fn is_direct(server: &Uri, list: &str) -> bool {
    let Some(server) = Server::of(server) else {
        return true;
    };
    let mut entries = list
        .split(',')
        .map(|entry| entry.trim().to_ascii_lowercase());
    server.is_this_machine() || entries.any(|entry| server.is_named_by(&entry))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;

    fn lookup(variables: &[(&'static str, &'static str)]) -> Lookup {
        let variables = variables.to_vec();
        Arc::new(move |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Returns the proxy for a server in an environment, as it is shown.
    fn chosen(server: &str, variables: &[(&'static str, &'static str)]) -> Option<String> {
        let server: Uri = server.parse().unwrap();
        let chosen = Proxy::of_environment(&server, &lookup(variables)).unwrap();
        chosen.map(|proxy| proxy.to_string())
    }

    fn is_asked_directly(server: &str, list: &'static str) -> bool {
        let proxy = ("HTTPS_PROXY", "http://proxy.example:3128");
        chosen(server, &[proxy, ("NO_PROXY", list)]).is_none()
    }

    #[test]
    fn the_environment_names_a_proxy_by_the_scheme_of_the_server() {
        let server = "https://api.example:6443";
        assert_eq!(chosen(server, &[]), None);
        let proxy = Some("http://proxy.example:3128".to_owned());
        for value in ["http://proxy.example:3128", "proxy.example:3128"] {
            assert_eq!(chosen(server, &[("HTTPS_PROXY", value)]), proxy, "{value}");
            assert_eq!(chosen(server, &[("https_proxy", value)]), proxy, "{value}");
            assert_eq!(chosen(server, &[("HTTP_PROXY", value)]), None, "{value}");
            let plain = chosen("http://api.example", &[("http_proxy", value)]);
            assert_eq!(plain, proxy, "{value}");
        }
        let both = [
            ("HTTPS_PROXY", ""),
            ("https_proxy", "http://proxy.example:3128"),
        ];
        assert_eq!(chosen(server, &both), proxy);
    }

    #[test]
    fn servers_that_no_proxy_names_are_asked_directly() {
        for (server, list) in [
            ("https://api.example", "*"),
            ("https://api.example", "elsewhere, api.example"),
            ("https://API.example", "Api.Example"),
            ("https://api.example", "example"),
            ("https://api.example", ".example"),
            ("https://api.example", "*.example"),
            ("https://api.example:6443", "api.example:6443"),
            ("https://api.example", "api.example:443"),
            ("https://api.example", ",,api.example,"),
            ("https://10.1.2.3:6443", "10.1.2.3"),
            ("https://10.1.2.3:6443", "10.1.2.3:6443"),
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://[fd00::7]:6443", "fd00::7"),
            ("https://[fd00::7]:6443", "[fd00::7]:6443"),
            ("https://[fd00::7]:6443", "fd00::/8"),
        ] {
            assert!(is_asked_directly(server, list), "{server} {list}");
        }
        for (server, list) in [
            ("https://api.example", ""),
            ("https://api.example", "."),
            ("https://api.example", ":443"),
            ("https://api.example", "pi.example"),
            ("https://api.example", ".api.example"),
            ("https://api.example", "api.example:6443"),
            ("https://api.example", "10.0.0.0/8"),
            ("https://10.1.2.3:6443", "10.1.2.3:443"),
            ("https://10.1.2.3:6443", "2.3"),
            ("https://10.1.2.3:6443", "11.0.0.0/8"),
            ("https://[fd00::7]:6443", "fe00::/8"),
        ] {
            assert!(!is_asked_directly(server, list), "{server} {list}");
        }
        let lower = [
            ("HTTPS_PROXY", "http://proxy.example:3128"),
            ("no_proxy", "api.example"),
        ];
        assert_eq!(chosen("https://api.example", &lower), None);
    }

    #[test]
    fn this_machine_is_asked_directly_whatever_the_environment_says() {
        for server in [
            "https://localhost:6443",
            "https://127.0.0.1:6443",
            "https://127.1.2.3",
            "https://[::1]:6443",
            "https://[::ffff:127.0.0.1]:6443",
        ] {
            assert!(is_asked_directly(server, ""), "{server}");
        }
    }

    #[test]
    fn a_proxy_is_given_its_user_and_password_and_shown_without() {
        for (given, url) in [
            ("http://proxy.example", "http://proxy.example:80/"),
            ("HTTPS://proxy.example", "https://proxy.example:443/"),
            ("socks5://proxy.example", "socks5://proxy.example:1080/"),
            ("socks5h://[::1]:9050/", "socks5://[::1]:9050/"),
            (
                "http://anna:s3cret@proxy.example:3128",
                "http://anna:s3cret@proxy.example:3128/",
            ),
            (
                "http://anna@proxy.example:3128",
                "http://anna:@proxy.example:3128/",
            ),
        ] {
            let proxy = Proxy::of_kubeconfig(given).unwrap();
            assert_eq!(proxy.url().to_string(), url);
            let shown = proxy.to_string();
            assert!(
                !shown.contains("anna") && !shown.contains("s3cret"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_what_stands_there() {
        for given in [
            "ftp://anna:s3cret@proxy.example",
            "anna:s3cret@proxy.example",
            "http://anna:s3cret@",
            "http://anna:s3 cret@proxy.example",
            "socks5://anna:s3cret@proxy.example",
        ] {
            let Err(told) = Proxy::of_kubeconfig(given) else {
                panic!("{given} is taken");
            };
            assert!(told.contains("`proxy-url`"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
        let server: Uri = "https://api.example".parse().unwrap();
        let unfit = lookup(&[("https_proxy", "gopher://proxy.example")]);
        let Err(told) = Proxy::of_environment(&server, &unfit) else {
            panic!("it is taken");
        };
        assert!(told.starts_with("https_proxy is no address"), "{told}");
    }
}
