//! What types alone cannot say: that names exist and numbers make sense.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::error::{Problem, Source, nearest};
use crate::config::module::ModuleVariables;
use crate::config::module::variable::Settings;
use crate::config::path::Path;
use crate::config::schema::artefact::{ARTEFACT_BYTES_MAX, ARTEFACTS_MAX, is_digest};
use crate::config::schema::compute::{
    CLOUDS, CloudParameters, DRIVERS, DockerParameters, LocalParameters, PluginParameters,
    VagrantParameters,
};
use crate::config::schema::sections::Engine;
use crate::config::schema::{CONFIG_VERSION, Config};
use crate::config::typed::{Place, read};
use crate::model::name::Name;
use crate::model::reach::Reach;

/// All that is wrong with `config`. `modules` are the provisioning modules that exist. The
/// problems have no source yet: the caller knows which layer decides each path.
pub(super) fn validate(config: &Config, modules: &ModuleVariables) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    if config.version != CONFIG_VERSION {
        check.refuse(&["version"], format!("this build reads version {CONFIG_VERSION}"));
    }
    check.name(
        &["default_compute_type"],
        "compute type",
        &config.default_compute_type,
        config.compute_types.keys(),
    );
    check.name(
        &["default_server_type"],
        "server type",
        &config.default_server_type,
        config.server_types.keys(),
    );
    check.compute_types(config);
    for (name, server_type) in &config.server_types {
        for (index, module) in server_type.modules.iter().enumerate() {
            let index = index.to_string();
            let path = ["server_types", name.as_str(), "modules", index.as_str()];
            check.name(&path, "provisioning module", module, modules.keys());
        }
        check.variables(&["server_types", name, "variables"], &server_type.variables, modules);
    }
    check.variables(&["provision", "variables"], &config.provision.variables, modules);
    check.ranges(config);
    check.rules(config);
    check.fleet(config);
    check.artefacts(config);
    check.backup(config);
    check.hooks(config);
    check.problems
}

/// Whether a text is `ADDRESS/LENGTH`.
fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => 32,
        Ok(_) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

pub(super) struct Check {
    problems: Vec<Problem>,
}

impl Check {
    pub(super) fn refuse(&mut self, path: &[&str], what: String) {
        let root = Path::root();
        let place = Place { source: &Source::Merged, text: None, path: &root };
        let path = Path::from_keys(path.iter().copied()).unwrap_or_default();
        self.problems.push(place.problem(&path, what));
    }

    fn artefacts(&mut self, config: &Config) {
        for (name, artefact) in &config.artefacts {
            if !is_digest(&artefact.sha256) {
                let what = "expected 64 small hexadecimal digits".to_owned();
                self.refuse(&["artefacts", name, "sha256"], what);
            }
            if artefact.bytes > ARTEFACT_BYTES_MAX {
                let what = format!("expected at most {ARTEFACT_BYTES_MAX}");
                self.refuse(&["artefacts", name, "bytes"], what);
            }
        }
        if config.artefacts.len() > ARTEFACTS_MAX {
            self.refuse(&["artefacts"], format!("expected at most {ARTEFACTS_MAX}"));
        }
    }

    /// Values of modules' variables: they must be declared, and fit.
    fn variables(&mut self, above: &[&str], settings: &Settings, modules: &ModuleVariables) {
        for (module, values) in settings {
            let above = [above, &[module.as_str()]].concat();
            self.name(&above, "provisioning module", module, modules.keys());
            let Some(variables) = modules.get(module) else { continue };
            for (name, value) in values {
                let path = [above.as_slice(), &[name.as_str()]].concat();
                self.name(&path, "variable", name, variables.keys());
                let declared = variables.get(name).filter(|_| !value.is_null());
                if let Some(fault) = declared.and_then(|variable| variable.fault(value)) {
                    self.refuse(&path, fault);
                }
            }
        }
    }

    pub(super) fn name<'n>(
        &mut self,
        path: &[&str],
        noun: &str,
        name: &str,
        known: impl IntoIterator<Item = &'n String>,
    ) {
        let known: Vec<String> = known.into_iter().cloned().collect();
        if known.iter().any(|other| other == name) {
            return;
        }
        self.refuse(path, format!("there is no {noun} {name:?}"));
        if let Some(problem) = self.problems.last_mut() {
            problem.nearest = nearest(name, known.iter().map(String::as_str));
            problem.known = known;
        }
    }

    pub(super) fn range(&mut self, path: [&str; 2], value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.refuse(&path, format!("expected {least} to {most}, found {value}"));
        }
    }

    fn backup(&mut self, config: &Config) {
        self.range(["backup", "keep"], config.backup.keep.into(), 1, 10_000);
        if config.backup.every_ms != 0 {
            self.range(["backup", "every_ms"], config.backup.every_ms, 1_000, u64::MAX);
        }
        for (name, target) in &config.backup.targets {
            if target.url.is_empty() {
                self.refuse(&["backup", "targets", name, "url"], "it is empty".to_owned());
            }
        }
    }

    fn compute_types(&mut self, config: &Config) {
        for (name, compute_type) in &config.compute_types {
            let parameters = &compute_type.parameters;
            match compute_type.driver.as_str() {
                "local" => self.parameters::<LocalParameters>(name, parameters),
                "docker" => self.parameters::<DockerParameters>(name, parameters),
                "vagrant" => self.parameters::<VagrantParameters>(name, parameters),
                "plugin" => self.parameters::<PluginParameters>(name, parameters),
                cloud if CLOUDS.contains(&cloud) => {
                    self.parameters::<CloudParameters>(name, parameters);
                }
                "" => {
                    let what = format!("the driver is missing: one of {}", DRIVERS.join(", "));
                    self.refuse(&["compute_types", name], what);
                }
                other => {
                    let path = ["compute_types", name.as_str(), "driver"];
                    let drivers = DRIVERS.map(str::to_owned);
                    self.name(&path, "driver", other, &drivers);
                }
            }
        }
    }

    fn parameters<T: DeserializeOwned>(&mut self, name: &str, parameters: &Map<String, Value>) {
        let path = Path::root().join("compute_types").join(name);
        let place = Place { source: &Source::Merged, text: None, path: &path };
        let (_, problems) = read::<T>(&mut Value::Object(parameters.clone()), place);
        self.problems.extend(problems);
    }

    fn ranges(&mut self, config: &Config) {
        const HOUR_MS: u64 = 3_600_000;
        const DAY_MS: u64 = 24 * HOUR_MS;
        let mesh = &config.mesh;
        self.range(["mesh", "rings"], mesh.rings.into(), 1, 8);
        self.range(["mesh", "ping_interval_ms"], mesh.ping_interval_ms, 50, HOUR_MS);
        let least = mesh.ping_interval_ms.saturating_add(1);
        self.range(["mesh", "link_timeout_ms"], mesh.link_timeout_ms, least, DAY_MS);
        let interface = &mesh.interface.name;
        let is_name = (1..=15).contains(&interface.len())
            && interface.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && interface != "."
            && interface != "..";
        if !is_name {
            let what = format!("{interface:?} is no name of a network interface");
            self.refuse(&["mesh", "interface", "name"], what);
        }
        if mesh.engine == Engine::External && mesh.network.is_empty() {
            let what = "the engine \"external\" needs an interface's name or a range of addresses";
            self.refuse(&["mesh", "network"], what.to_owned());
        }
        if mesh.network.contains('/') && !is_range(&mesh.network) {
            let what = format!("{:?} is no range of addresses such as 200::/7", mesh.network);
            self.refuse(&["mesh", "network"], what);
        }
        if mesh.reach == Reach::Tree && mesh.parent.is_empty() {
            let what = "the reach \"tree\" needs the name of a member".to_owned();
            self.refuse(&["mesh", "parent"], what);
        }
        if !mesh.parent.is_empty() && mesh.parent.parse::<Name>().is_err() {
            let what = format!("{:?} is no name of a member", mesh.parent);
            self.refuse(&["mesh", "parent"], what);
        }
        let membership = &config.membership;
        self.range(["membership", "probe_period_ms"], membership.probe_period_ms, 50, HOUR_MS);
        let most = membership.probe_period_ms.saturating_sub(1).max(10);
        self.range(["membership", "probe_timeout_ms"], membership.probe_timeout_ms, 10, most);
        self.range(["membership", "suspicion_ms"], membership.suspicion_ms, 50, DAY_MS);
        let ssh = &config.ssh;
        self.range(["ssh", "connect_timeout_ms"], ssh.connect_timeout_ms, 100, HOUR_MS);
        self.range(["ssh", "concurrent_handshakes"], ssh.concurrent_handshakes.into(), 1, 1024);
        self.range(["spawn", "concurrent"], config.spawn.concurrent.into(), 1, 1024);
        self.range(["spawn", "timeout_ms"], config.spawn.timeout_ms, 1000, DAY_MS);
        let provision = &config.provision;
        self.range(["provision", "timeout_ms"], provision.timeout_ms, 1000, 7 * DAY_MS);
        self.range(["provision", "step_timeout_ms"], provision.step_timeout_ms, 1000, 7 * DAY_MS);
        self.range(["provision", "clock_skew_ms"], provision.clock_skew_ms, 1000, DAY_MS);
    }
}
