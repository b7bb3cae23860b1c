//! Volumes, secrets and configurations of a service as mounts of its containers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountBindOptions, MountTmpfsOptions, MountType, MountVolumeOptions};
use code_deploy_engine::Spec;
use code_deploy_engine::spec::ComposeService;
use code_deploy_record::{Redactor, Secret};
use serde_json::Value;

use super::names::Names;
use crate::disk::{create_private, write_private};
use crate::keys::{Found, Keys, text};
use crate::settings::Lookup;

/// A named volume that a service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVolume {
    /// Its name on the engine.
    pub name: String,
    /// Its key in the Compose file.
    pub key: String,
    /// Whether it is somebody else's and must be there.
    pub external: bool,
}

/// Returns the volumes of a service as mounts, and those of them that have a name.
pub fn volumes(
    spec: &Spec,
    names: &Names,
    service: &ComposeService,
) -> Found<(Vec<Mount>, Vec<NamedVolume>)> {
    let (mut mounts, mut named) = (Vec::new(), Vec::new());
    let listed = Keys(&service.keys).get("volumes").and_then(Value::as_array);
    for item in listed.into_iter().flatten() {
        let mut mount = match item {
            Value::Object(_) => long(Keys(item))?,
            _ => short(&text(item).unwrap_or_default())?,
        };
        match (mount.typ, mount.source.clone()) {
            (Some(MountType::BIND), Some(source)) => {
                mount.source = Some(absolute(spec, &source).display().to_string());
            }
            (Some(MountType::VOLUME), Some(key)) => {
                let volume = named_volume(spec, names, &key)?;
                mount.source = Some(volume.name.clone());
                named.push(volume);
            }
            _ => {}
        }
        mounts.push(mount);
    }
    Ok((mounts, named))
}

fn named_volume(spec: &Spec, names: &Names, key: &str) -> Found<NamedVolume> {
    if !spec.compose.volumes.iter().any(|known| known == key) {
        return Err(format!(
            "`volumes` names `{key}`, which no `volumes:` of the file declares"
        ));
    }
    let declared = Keys(&spec.compose.whole).under("volumes").under(key);
    let external = declared.switch("external")?.unwrap_or(false);
    let name = declared.text("name");
    let name = name.unwrap_or_else(|| {
        if external {
            key.to_owned()
        } else {
            names.scoped(key)
        }
    });
    Ok(NamedVolume {
        name,
        key: key.to_owned(),
        external,
    })
}

/// A mount as the Compose file writes it, for targets without an engine.
pub struct Written {
    /// A volume's name or a folder.
    pub source: Option<String>,
    /// Where it stands in the container.
    pub target: String,
    /// Whether the source is a folder.
    pub is_folder: bool,
    /// Whether it is kept in memory only.
    pub is_memory: bool,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// Returns a mount of `volumes` in one of its two forms.
pub fn written(item: &Value) -> Found<Written> {
    let mount = match item {
        Value::Object(_) => long(Keys(item))?,
        _ => short(&text(item).unwrap_or_default())?,
    };
    Ok(Written {
        source: mount.source,
        target: mount.target.unwrap_or_default(),
        is_folder: mount.typ == Some(MountType::BIND),
        is_memory: mount.typ == Some(MountType::TMPFS),
        read_only: mount.read_only.unwrap_or(false),
    })
}

fn long(keys: Keys<'_>) -> Found<Mount> {
    let typ = match keys.text("type").as_deref() {
        Some("bind") => MountType::BIND,
        Some("tmpfs") => MountType::TMPFS,
        Some("volume") | None => MountType::VOLUME,
        Some(other) => return Err(format!("`volumes` has a mount of type `{other}`")),
    };
    let propagation = keys.under("bind").text("propagation");
    if propagation.is_some() {
        return Err("`volumes` has a mount with `bind.propagation`".to_owned());
    }
    let copied = keys.under("volume").switch("nocopy")?;
    let size = keys.under("tmpfs").bytes("size")?;
    Ok(Mount {
        typ: Some(typ),
        source: keys.text("source"),
        target: Some(
            keys.text("target")
                .ok_or("`volumes` has a mount without `target`")?,
        ),
        read_only: keys.switch("read_only")?,
        bind_options: (typ == MountType::BIND).then(MountBindOptions::default),
        volume_options: copied.map(|no_copy| MountVolumeOptions {
            no_copy: Some(no_copy),
            ..MountVolumeOptions::default()
        }),
        tmpfs_options: (typ == MountType::TMPFS).then(|| MountTmpfsOptions {
            size_bytes: size,
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    })
}

fn short(written: &str) -> Found<Mount> {
    let parts: Vec<&str> = written.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(format!("`volumes` has `{written}`, which is no mount")),
    };
    let path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let options: Vec<&str> = mode.split(',').filter(|one| !one.is_empty()).collect();
    let known = ["ro", "rw", "z", "Z", "cached", "delegated", "consistent"];
    if let Some(other) = options.iter().find(|one| !known.contains(one)) {
        return Err(format!(
            "`volumes` has `{written}`, whose option `{other}` is not honoured"
        ));
    }
    Ok(Mount {
        typ: Some(if path {
            MountType::BIND
        } else {
            MountType::VOLUME
        }),
        source: source.map(str::to_owned),
        target: Some(target.to_owned()),
        read_only: Some(options.contains(&"ro")),
        ..Mount::default()
    })
}

/// Returns a path of the Compose file, relative to it.
pub fn absolute(spec: &Spec, path: &str) -> PathBuf {
    let above = spec.compose.path.parent().unwrap_or(Path::new("."));
    let whole = above.join(path);
    std::path::absolute(&whole).unwrap_or(whole)
}

/// Where secrets of an instance are found and written.
pub struct Hidden<'a> {
    pub spec: &'a Spec,
    pub service: &'a ComposeService,
    pub lookup: &'a Lookup,
    pub redactor: &'a Redactor,
    /// The folder of this instance's secrets and configurations.
    pub folder: PathBuf,
}

impl Hidden<'_> {
    /// Returns the environment variables whose values are secret.
    pub fn variables(&self) -> Found<Vec<(String, String)>> {
        let mut variables = Vec::new();
        for (name, secret) in &self.service.secret_variables {
            let value = crate::local::resolve(secret, self.spec, &**self.lookup)
                .map_err(|why| format!("secret {name}: {why}"))?;
            self.redactor.know(name.as_str(), value.clone());
            variables.push((name.clone(), value.expose().to_owned()));
        }
        Ok(variables)
    }

    /// Writes the files of secrets and configurations, and returns them as mounts.
    pub fn mounts(&self) -> Found<Vec<Mount>> {
        let mut mounts = Vec::new();
        for (key, above) in [("secrets", "/run/secrets"), ("configs", "")] {
            let listed = Keys(&self.service.keys).get(key).and_then(Value::as_array);
            for item in listed.into_iter().flatten() {
                let keys = Keys(item);
                let source = text(item).or_else(|| keys.text("source"));
                let source =
                    source.ok_or_else(|| format!("`{key}` has an entry without a name"))?;
                let target = keys.text("target").unwrap_or_else(|| source.clone());
                let target = match target.starts_with('/') {
                    true => target,
                    false => format!("{above}/{target}"),
                };
                let value = hidden_value(self.spec, self.lookup, key, &source)?;
                let secret = key == "secrets";
                if secret {
                    self.redactor.know(source.as_str(), value.clone());
                }
                mounts.push(self.file(key, &source, &value, target)?);
            }
        }
        Ok(mounts)
    }

    /// The folder is private to the user; the file may be read by whichever user the container
    /// runs as.
    fn file(&self, key: &str, name: &str, value: &Secret, target: String) -> Found<Mount> {
        let folder = self.folder.join(key);
        let path = folder.join(name);
        create_private(&folder)
            .and_then(|()| write_private(&path, value.expose().as_bytes()))
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Mount {
            typ: Some(MountType::BIND),
            source: Some(path.display().to_string()),
            target: Some(target),
            read_only: Some(true),
            ..Mount::default()
        })
    }
}

/// Returns the value of a secret or configuration (`key` is `secrets` or `configs`) that the
/// Compose file declares. Reads files.
pub fn hidden_value(spec: &Spec, lookup: &Lookup, key: &str, name: &str) -> Found<Secret> {
    let declared = Keys(&spec.compose.whole).under(key).under(name);
    if let Some(path) = declared.text("file") {
        let path = absolute(spec, &path);
        let text = std::fs::read_to_string(&path);
        return text
            .map(Secret::new)
            .map_err(|error| format!("{key} {name}: {}: {error}", path.display()));
    }
    if let Some(variable) = declared.text("environment") {
        let value = lookup(&variable);
        return value
            .map(Secret::new)
            .ok_or_else(|| format!("{key} {name}: the variable {variable} is not set"));
    }
    if let Some(content) = declared.text("content") {
        return Ok(Secret::new(content));
    }
    Err(format!(
        "{key} {name}: nothing but `file`, `environment` and `content` is honoured"
    ))
}
