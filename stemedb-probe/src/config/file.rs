//! The configuration file: TOML with the same words as the flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::profiles::Profile;
use super::{
    Config, ConfigError, DEFAULT_LISTEN, FilePattern, KEYS, ProcessPattern, Target, check_class, parse_without, unknown,
};
use crate::kernel::Mode;

/// Reads a TOML file into a configuration that the flags may then change.
pub fn read_file(path: &Path) -> Result<Config, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return bad!("cannot read the configuration {}: {error}", path.display()),
    };
    parse_toml(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

/// Reads TOML.
pub fn parse_toml(text: &str) -> Result<Config, ConfigError> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return bad!("not valid TOML: {}", error.to_string().trim_end()),
    };
    let mut config = Config::default();
    for (key, value) in &table {
        match key.as_str() {
            "listen" => config.listen = parse_listen(string(value, key)?)?,
            "namespace" => config.namespace = check_namespace(string(value, key)?)?,
            "btf" => config.btf = Some(PathBuf::from(string(value, key)?)),
            "hooks" => config.hooks = parse_hooks(string(value, key)?)?,
            "without" => {
                config.without =
                    strings(value, key)?.iter().map(|name| parse_without(name)).collect::<Result<_, _>>()?;
            }
            "target" => read_targets(value, &mut config)?,
            _ => {
                return unknown(
                    "key",
                    key,
                    ["listen", "namespace", "btf", "hooks", "without", "target"].into_iter(),
                    "the file",
                );
            }
        }
    }
    Ok(config)
}

fn parse_hooks(text: &str) -> Result<Mode, ConfigError> {
    Mode::from_str(text, false).or_else(|_| {
        let words: Vec<String> = Mode::value_variants()
            .iter()
            .filter_map(|mode| Some(mode.to_possible_value()?.get_name().to_owned()))
            .collect();
        bad!("hooks = {text:?}: it is one of {}", words.join(", "))
    })
}

fn read_targets(value: &toml::Value, config: &mut Config) -> Result<(), ConfigError> {
    let Some(list) = value.as_array() else { return bad!("`target` is a list: begin each target with [[target]]") };
    for (i, entry) in list.iter().enumerate() {
        let at = format!("[[target]] number {}", i + 1);
        let Some(table) = entry.as_table() else { return bad!("{at} is not a table") };
        let word = |key| table.get(key).map(|value| string(value, key)).transpose();
        let profile = word("profile")?;
        let Some(name) = word("name")?.or(profile) else { return bad!("{at} has no `name`") };
        if config.targets.iter().any(|target| target.name == name) {
            return bad!("{at}: the name {name:?} is used twice");
        }
        let target = config.target_mut(name)?;
        target.profile = profile.map(|profile| Profile::find(profile, &at)).transpose()?;
        for (key, value) in table {
            match key.as_str() {
                "name" | "profile" => {}
                "class" => read_classes(value, &at, target)?,
                key => {
                    let words = ["name", "profile", "class"].into_iter().chain(KEYS.iter().map(|(word, _)| *word));
                    let Some((_, found)) = KEYS.iter().find(|(word, _)| *word == key) else {
                        return unknown("key", key, words, &at);
                    };
                    for pattern in strings(value, key)? {
                        target.processes.push(ProcessPattern::new(*found, &pattern)?);
                    }
                }
            }
        }
    }
    Ok(())
}

fn read_classes(value: &toml::Value, at: &str, target: &mut Target) -> Result<(), ConfigError> {
    let Some(table) = value.as_table() else {
        return bad!("`class` in {at} is a table: [target.class], then wal = \"/dir\"");
    };
    for (class, value) in table {
        check_class(class)?;
        for text in strings(value, class)? {
            target.files.push((class.clone(), FilePattern::new(&text)?));
        }
    }
    Ok(())
}

fn string<'v>(value: &'v toml::Value, key: &str) -> Result<&'v str, ConfigError> {
    value.as_str().map_or_else(|| bad!("`{key}` is a {}, not a string", value.type_str()), Ok)
}

/// One string or number, or a list of them.
fn strings(value: &toml::Value, key: &str) -> Result<Vec<String>, ConfigError> {
    match value {
        toml::Value::Array(list) => {
            list.iter().map(|item| strings(item, key)).collect::<Result<Vec<_>, _>>().map(|lists| lists.concat())
        }
        toml::Value::Integer(number) => Ok(vec![number.to_string()]),
        other => Ok(vec![string(other, key)?.to_owned()]),
    }
}

/// An address to listen on.
pub fn parse_listen(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_or_else(
        |_| {
            bad!("listen address {text:?} is not of the form ADDRESS:PORT, for example {DEFAULT_LISTEN} or [::1]:18190")
        },
        Ok,
    )
}

fn check_namespace(text: &str) -> Result<String, ConfigError> {
    let fine = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if text.is_empty() || !fine || text.as_bytes()[0].is_ascii_digit() {
        return bad!("namespace {text:?} cannot begin a metric name: use letters, digits and `_`, and no digit first");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_that_is_shipped_is_right() {
        let text = include_str!("../../../deploy/config/stemedb-probe.toml");
        let config = super::parse_toml(text).and_then(super::Config::finish).unwrap();
        assert_eq!(config.classes(), ["other", "wal", "store", "index"]);
    }

    #[test]
    fn a_profile_needs_no_name() {
        let text = "[[target]]\nprofile = 'redis'\n[[target]]\nname = 'b'\nprofile = 'etcd'\ncomm = 'x'\n";
        let config = super::parse_toml(text).and_then(super::Config::finish).unwrap();
        let targets: Vec<_> =
            config.targets.iter().map(|target| (target.name.as_str(), target.processes.len())).collect();
        assert_eq!(targets, [("redis", 2), ("b", 1)]);
        let error = super::parse_toml("[[target]]\nprofile = 'reddis'").unwrap_err().0;
        assert!(error.contains("did you mean \"redis\"?"), "{error}");
    }
}
