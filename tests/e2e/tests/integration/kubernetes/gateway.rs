//! A Gateway in front of a cluster. No controller of one can run there, so its part is played: this one follows
//! the HTTPRoutes of a namespace, forwards connections by their weights, and says so in their status.

use serde_json::{Value, json};
use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use super::cluster::Namespace;
use super::terminator;
use super::way::forward;

const DEFINITIONS: &str =
    include_str!("../../../../../kernel/targets/tests/integration/kubernetes/gateway-api.yaml");

const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

const GROUP: &str = "/apis/gateway.networking.k8s.io/v1";

/// The played Gateway `public`; its threads go with the process of the test.
pub struct Gateway {
    state: Arc<State>,
    /// Where it takes connections, with TLS.
    address: SocketAddr,
    watch: Child,
    /// Whether the definitions go with it: those that others installed stay.
    installed: bool,
}

struct State {
    namespace: Namespace,
    /// Whom connections are forwarded to, with weights.
    backends: Mutex<Vec<(SocketAddr, u64)>>,
    /// All that routes said of it, in order: `storefront-1-0-0 75, storefront-1-1-0 25`.
    seen: Mutex<Vec<String>>,
    taken: Mutex<u64>,
}

impl Gateway {
    /// Has the cluster serve the Gateway API, makes the Gateway in the namespace and plays it, with that
    /// certificate: users ask with TLS.
    #[track_caller]
    pub fn play(namespace: &Namespace, certificate: &Path) -> Self {
        let found = namespace.kubectl(&["get", "crd", ROUTES, "--ignore-not-found", "-o=name"]);
        let installed = found.trim().is_empty();
        if installed {
            namespace.apply(DEFINITIONS);
        }
        let definition = format!("crd/{ROUTES}");
        namespace.kubectl(&["wait", "--for=condition=Established", &definition]);
        let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
        namespace.post(
            &namespace.path(GROUP, "gateways"),
            &json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": { "name": "public" },
                "spec": { "gatewayClassName": "played", "listeners": [listener] },
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plain = listener.local_addr().unwrap();
        let state = Arc::new(State {
            namespace: namespace.lent(),
            backends: Mutex::default(),
            seen: Mutex::default(),
            taken: Mutex::default(),
        });
        let mut watch = namespace.command(&["get", ROUTES, "--watch", "--output=json"]);
        let mut watch = watch.stdin(Stdio::null()).spawn().unwrap();
        let told = watch.stdout.take().unwrap();
        let following = Arc::clone(&state);
        std::thread::spawn(move || {
            let routes =
                serde_json::Deserializer::from_reader(BufReader::new(told)).into_iter::<Value>();
            routes
                .map_while(Result::ok)
                .for_each(|route| following.follow(&route));
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.forward(stream);
            }
        });
        Self {
            state,
            address: terminator::start(certificate, plain),
            watch,
            installed,
        }
    }

    /// Returns where users ask.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Returns whom its route led to, one after the other.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended with its server.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        if self.installed {
            let gone = ["delete", "crd", "--selector=code-deploy.test=yes"];
            self.state.namespace.kubectl(&gone);
        }
    }
}

impl State {
    /// Does what a route says, and then says that it is done.
    fn follow(&self, route: &Value) {
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array();
        let backends = backends.map_or(&[][..], Vec::as_slice);
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        let words: Vec<String> = backends
            .iter()
            .map(|one| format!("{} {}", name(one), one["weight"]))
            .collect();
        let words = words.join(", ");
        if self.seen.lock().unwrap().last() == Some(&words) {
            return;
        }
        let found = backends.iter().filter_map(|one| {
            let address = "--output=jsonpath={.spec.clusterIP}";
            let words = ["get", "service", &name(one), "--ignore-not-found", address];
            let address = self.namespace.kubectl(&words).parse().ok()?;
            let port = one["port"].as_u64()? as u16;
            Some((SocketAddr::new(address, port), one["weight"].as_u64()?))
        });
        *self.backends.lock().unwrap() = found.collect();
        self.seen.lock().unwrap().push(words);
        self.say(route);
    }

    fn say(&self, route: &Value) {
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "True", "reason": kind, "message": "said by a test",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": route["metadata"]["generation"],
            })
        };
        let mut route = route.clone();
        route["status"] = json!({ "parents": [{
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "tests.code-deploy/played",
            "conditions": [condition("Accepted"), condition("ResolvedRefs")],
        }] });
        let name = route["metadata"]["name"].as_str().unwrap();
        let path = self
            .namespace
            .path(GROUP, &format!("httproutes/{name}/status"));
        let mut put = self
            .namespace
            .command(&["replace", "--raw", &path, "--filename=-"]);
        let mut put = put.spawn().unwrap();
        let mut words = put.stdin.take().unwrap();
        words.write_all(route.to_string().as_bytes()).unwrap();
        drop(words);
        // One that has changed meanwhile is told again.
        put.wait_with_output().unwrap();
    }

    /// Takes a connection to one of the backends, spread by weight over each hundred.
    fn forward(&self, stream: TcpStream) {
        let backends = self.backends.lock().unwrap().clone();
        let all: u64 = backends.iter().map(|(_, weight)| weight).sum();
        if all == 0 {
            return;
        }
        let mut taken = self.taken.lock().unwrap();
        *taken += 1;
        // A step that shares no factor with a hundred comes by each of them.
        let mut place = (*taken * 37 % 100) * all / 100;
        drop(taken);
        let chosen = backends.iter().find(|(_, weight)| {
            let is = place < *weight;
            place = place.saturating_sub(*weight);
            is
        });
        let server = chosen.and_then(|(address, _)| TcpStream::connect(address).ok());
        let Some(server) = server else { return };
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        forward(copy(&stream), copy(&server));
        forward(server, stream);
    }
}
