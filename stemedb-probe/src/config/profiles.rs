//! Ready rules for databases that are well known: one table, from which flags, file, help and errors derive.

use super::{Config, ConfigError, FilePattern, Key, ProcessPattern, Target, unknown};

/// What is known about a database without asking its user.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name in `--profile`, and the name of its target unless the user gives another.
    pub name: &'static str,
    /// Its processes. None where the database is a library: then the user says which programs use it.
    pub processes: &'static [(Key, &'static str)],
    /// Class by class, its files: `NAME/` or a glob for names ([`FilePattern::new`]).
    pub files: &'static [(&'static str, &'static str)],
}

/// The target of an agent without a configuration.
pub const DEFAULT: &str = "stemedb";

/// Every profile.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: DEFAULT,
        // Everything of StemeDB's but this agent.
        processes: &[(Key::Comm, "stemedb"), (Key::Comm, "stemedb[!-]*"), (Key::Comm, "stemedb-[!p]*")],
        files: &[("wal", "wal/"), ("store", "store/"), ("index", "index/")],
    },
    Profile {
        name: "postgres",
        processes: &[(Key::Comm, "postgres"), (Key::Comm, "postmaster")],
        files: &[("wal", "pg_wal/"), ("store", "base/"), ("store", "global/")],
    },
    Profile {
        name: "redis",
        processes: &[(Key::Comm, "redis-server"), (Key::Comm, "valkey-server")],
        // Up to Redis 6 the log is one file, beside the dump; a rewrite begins as temp-rewriteaof-*.aof in both.
        files: &[("wal", "appendonlydir/"), ("wal", "*.aof"), ("store", "*.rdb")],
    },
    Profile {
        name: "etcd",
        processes: &[(Key::Comm, "etcd")],
        // A new log is made in wal.tmp/; --wal-dir may give the directory any name.
        files: &[("wal", "wal/"), ("wal", "wal.tmp/"), ("wal", "*.wal"), ("store", "snap/")],
    },
    Profile {
        name: "rocksdb",
        processes: &[],
        // A log's name is its number, of six digits at least; the text log is LOG.
        files: &[
            ("wal", "[0-9][0-9][0-9][0-9][0-9][0-9]*.log"),
            ("store", "*.sst"),
            ("store", "*.blob"),
            ("manifest", "MANIFEST-*"),
            ("manifest", "CURRENT"),
            ("manifest", "*.dbtmp"),
        ],
    },
    Profile {
        name: "sqlite",
        processes: &[],
        files: &[
            ("wal", "*-wal"),
            ("journal", "*-journal"),
            ("store", "*.db"),
            ("store", "*.db3"),
            ("store", "*.sqlite"),
            ("store", "*.sqlite3"),
        ],
    },
];

impl Profile {
    /// The profile of a name, or an error with the nearest.
    pub fn find(name: &str, at: &str) -> Result<&'static Self, ConfigError> {
        match PROFILES.iter().find(|profile| profile.name == name) {
            Some(profile) => Ok(profile),
            None => unknown("profile", name, PROFILES.iter().map(|profile| profile.name), at),
        }
    }

    /// Gives a target what its user has not said: rules for processes when there are none, and for each class without any.
    pub(super) fn complete(&self, target: &mut Target) -> Result<(), ConfigError> {
        if target.processes.is_empty() {
            let rules = self.processes.iter().map(|(key, pattern)| ProcessPattern::new(*key, pattern));
            target.processes = rules.collect::<Result<_, _>>()?;
        }
        let said: Vec<String> = target.files.iter().map(|(class, _)| class.clone()).collect();
        for (class, pattern) in self.files.iter().filter(|(class, _)| !said.iter().any(|other| other == class)) {
            target.files.push(((*class).to_owned(), FilePattern::new(pattern)?));
        }
        Ok(())
    }

    /// Whether one of its rules for files is this one.
    #[must_use]
    pub fn gives(&self, class: &str, pattern: &FilePattern) -> bool {
        self.files.iter().any(|(other, text)| *other == class && *text == pattern.to_string())
    }
}

/// `[NAME:]PROFILE` of `--profile`: the name of the target, and its profile.
pub fn parse_profile_flag(text: &str) -> Result<(String, &'static Profile), ConfigError> {
    let (name, profile) = text.split_once(':').unwrap_or((text, text));
    let profile = Profile::find(profile, "--profile")?;
    super::check_label("target", name)?;
    Ok((name.to_owned(), profile))
}

/// The help of `--profile`.
#[must_use]
pub fn help() -> String {
    let names = |library: bool| {
        let some = PROFILES.iter().filter(|profile| profile.processes.is_empty() == library);
        some.map(|profile| profile.name).collect::<Vec<_>>().join(", ")
    };
    format!(
        "A database whose processes and files are known: {}; and {}, which are libraries: say which programs use them, as in \
         --profile sqlite --target sqlite:comm=myapp. NAME is the target's (default: PROFILE); --target and --class \
         with the same NAME win over the profile [default: {DEFAULT}, unless there is a --target]",
        names(false),
        names(true)
    )
}

impl Config {
    /// The default target when there is none.
    pub(super) fn default_target(&mut self) -> Result<(), ConfigError> {
        if self.targets.is_empty() {
            self.target_mut(DEFAULT)?.profile = Some(Profile::find(DEFAULT, "the default")?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(targets: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (name, rule) in targets {
            let target = config.target_mut(name).unwrap();
            target.profile = Some(Profile::find(name, "").unwrap());
            target.processes.extend((!rule.is_empty()).then(|| ProcessPattern::new(Key::Comm, rule).unwrap()));
        }
        config
    }

    #[test]
    fn every_profile_is_right_and_all_fit_together() {
        let all: Vec<_> = PROFILES
            .iter()
            .map(|profile| (profile.name, if profile.processes.is_empty() { "app" } else { "" }))
            .collect();
        let config = config(&all).finish().unwrap();
        for (i, (profile, target)) in PROFILES.iter().zip(&config.targets).enumerate() {
            assert!(PROFILES[..i].iter().all(|other| other.name != profile.name), "{} is there twice", profile.name);
            assert!(target.files.iter().any(|(class, _)| class == super::super::WAL), "{} has no WAL", profile.name);
            assert!(target.files.iter().all(|(class, pattern)| profile.gives(class, pattern)), "{target:?}");
            // A path of somebody's machine is not what "known" means.
            assert!(!target.files.iter().any(|(_, pattern)| matches!(pattern, FilePattern::Directory(_))));
            assert!(help().contains(profile.name));
        }
    }

    #[test]
    fn a_library_needs_a_rule_for_its_processes() {
        let error = config(&[("sqlite", "")]).finish().unwrap_err().0;
        assert!(error.contains("--target sqlite:comm="), "{error}");
    }

    #[test]
    fn what_the_user_says_wins() {
        let mut config = config(&[("etcd", "my-etcd")]);
        let ours = FilePattern::new("/wal").unwrap();
        config.targets[0].files.push(("wal".to_owned(), ours.clone()));
        let config = config.finish().unwrap();
        let target = &config.targets[0];
        assert_eq!(target.processes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["comm=my-etcd"]);
        assert_eq!(
            target.files,
            [("wal".to_owned(), ours), ("store".to_owned(), FilePattern::Anywhere("snap".to_owned()))]
        );
        assert_eq!(config.clone().finish().unwrap(), config, "finished twice is finished");
    }

    #[test]
    fn the_flag() {
        let (name, profile) = parse_profile_flag("orders:postgres").unwrap();
        assert_eq!((name.as_str(), profile.name), ("orders", "postgres"));
        assert_eq!(parse_profile_flag("redis").unwrap().0, "redis");
        let error = parse_profile_flag("postgresql").unwrap_err().0;
        assert!(error.contains("unknown profile \"postgresql\"") && error.contains("\"postgres\"?"), "{error}");
        assert!(parse_profile_flag("a b:etcd").unwrap_err().0.contains("not allowed"));
    }
}
