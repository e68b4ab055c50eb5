//! The configuration: a TOML file and the flags, parsed to the same words, then resolved to [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;

use stemedb_ebpf::glob::{Automaton, MAX_ITEMS};
use stemedb_ebpf::{
    CHILD_NAME, MAX_CLASS_RULES, MAX_CLASSES, MAX_PROCESS_RULES, MAX_TARGETS, RULE_CGROUP, RULE_COMM, RULE_EXE,
};

use crate::kernel::{CAPABILITIES, Mode};

/// Where the agent listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:18190";
/// The class whose metrics are `stemedb_wal_*`.
pub const WAL: &str = "wal";
/// The class of files that match nothing.
pub const OTHER: &str = "other";
/// What a `comm` can hold (`TASK_COMM_LEN` - 1).
const COMM_MAX: usize = 15;

/// What is wrong with a configuration. The text says where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Shorthand for an error from a format string.
macro_rules! bad {
    ($($arg:tt)*) => { Err($crate::config::ConfigError(format!($($arg)*))) };
}

mod file;
pub mod profiles;

pub use file::{parse_listen, parse_toml, read_file};
use profiles::Profile;

/// By what a process is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Its command name, at most 15 bytes.
    Comm,
    /// The path of its executable.
    Exe,
    /// The path of its cgroup in the unified hierarchy.
    Cgroup,
    /// Its systemd unit.
    Unit,
    /// Its process id.
    Pid,
}

/// The words of the configuration for [`Key`].
pub const KEYS: &[(&str, Key)] =
    &[("comm", Key::Comm), ("exe", Key::Exe), ("cgroup", Key::Cgroup), ("unit", Key::Unit), ("pid", Key::Pid)];

/// One rule by which a process belongs to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPattern {
    /// What it looks at.
    pub key: Key,
    /// A glob, or a number for [`Key::Pid`].
    pub pattern: String,
}

impl ProcessPattern {
    /// Checks the pattern.
    pub fn new(key: Key, pattern: &str) -> Result<Self, ConfigError> {
        if pattern.is_empty() {
            return bad!("the pattern for {} is empty", word(key));
        }
        match key {
            Key::Pid if pattern.parse::<u32>().map_or(true, |pid| pid == 0) => {
                return bad!("pid={pattern} is not a process id");
            }
            Key::Comm if !pattern.contains(['*', '?', '[', '\\']) && pattern.len() > COMM_MAX => {
                return bad!(
                    "comm={pattern} can never match: the kernel keeps {COMM_MAX} bytes of a name; write comm={}* or use exe=",
                    cut(pattern, COMM_MAX)
                );
            }
            _ => {}
        }
        let out = Self { key, pattern: pattern.to_owned() };
        for (_, glob) in out.globs() {
            Automaton::new(&glob).map_err(|error| ConfigError(error.to_string()))?;
        }
        Ok(out)
    }

    /// The globs that the kernel matches, with what they look at; none for a pid.
    #[must_use]
    pub fn globs(&self) -> Vec<(u32, String)> {
        match self.key {
            Key::Comm => vec![(RULE_COMM, self.pattern.clone())],
            Key::Exe => vec![(RULE_EXE, self.pattern.clone())],
            Key::Cgroup => vec![(RULE_CGROUP, self.pattern.clone())],
            Key::Unit => {
                let unit =
                    if self.pattern.contains('.') { self.pattern.clone() } else { format!("{}.service", self.pattern) };
                vec![(RULE_CGROUP, format!("*/{unit}")), (RULE_CGROUP, format!("*/{unit}/*"))]
            }
            Key::Pid => Vec::new(),
        }
    }
}

impl std::fmt::Display for ProcessPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", word(self.key), self.pattern)
    }
}

fn word(key: Key) -> &'static str {
    KEYS.iter().find(|(_, other)| *other == key).map_or("", |(word, _)| word)
}

fn cut(text: &str, len: usize) -> &str {
    let end = (0..=len).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// One rule by which a file has a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePattern {
    /// Everything below a directory, as the target sees it.
    Directory(PathBuf),
    /// Everything below a directory of this name, wherever it is.
    Anywhere(String),
    /// A glob for the file's name, in any directory.
    Name(String),
}

impl FilePattern {
    /// A text that begins with `/` is a directory, one that ends in it the name of directories, else it is a glob for names.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return bad!("the directory of a class is empty");
        }
        if !text.contains('/') {
            Automaton::new(text).map_err(|error| ConfigError(error.to_string()))?;
            return Ok(Self::Name(text.to_owned()));
        }
        if text.starts_with('/') {
            return Ok(Self::Directory(PathBuf::from(text)));
        }
        match text.strip_suffix('/') {
            Some(name) if !name.contains('/') => Self::anywhere(name),
            _ => bad!(
                "{text} is not an absolute path; write /.../{text} for a directory, or a glob without `/` for file names"
            ),
        }
    }

    fn anywhere(name: &str) -> Result<Self, ConfigError> {
        if name.contains(['*', '?', '[', '\\']) || [".", ".."].contains(&name) || name.len() >= CHILD_NAME {
            return bad!(
                "{name}/ must be the name of a directory as it is, below {CHILD_NAME} bytes: globs are for file names"
            );
        }
        Ok(Self::Anywhere(name.to_owned()))
    }
}

impl std::fmt::Display for FilePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Anywhere(name) => write!(f, "{name}/"),
            Self::Name(glob) => f.write_str(glob),
        }
    }
}

/// A database to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The value of the label `target`.
    pub name: String,
    /// A process that matches one of these belongs to it.
    pub processes: Vec<ProcessPattern>,
    /// Classes of its files.
    pub files: Vec<(String, FilePattern)>,
    /// What is known about it: fills in what is not said above.
    pub profile: Option<&'static Profile>,
}

impl Target {
    /// Where one of its rules for files comes from.
    #[must_use]
    pub fn origin(&self, class: &str, pattern: &FilePattern) -> String {
        let profile = self.profile.filter(|profile| profile.gives(class, pattern));
        profile.map_or_else(|| "configured".to_owned(), |profile| format!("profile {}", profile.name))
    }
}

/// Everything that the agent needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address of the HTTP server.
    pub listen: SocketAddr,
    /// What metric names begin with.
    pub namespace: String,
    /// Type information of the kernel, when not the kernel's own file.
    pub btf: Option<PathBuf>,
    /// Which hooks to use.
    pub hooks: Mode,
    /// Capabilities to do without.
    pub without: Vec<String>,
    /// What is told of slow calls.
    pub slow: Slow,
    /// What to watch.
    pub targets: Vec<Target>,
}

/// What is told of slow calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// The slowest ones of the last hour.
    Slowest,
    /// Every one that takes this long, in nanoseconds.
    From(u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 18190)),
            namespace: "stemedb".to_owned(),
            btf: None,
            hooks: Mode::default(),
            without: Vec::new(),
            slow: Slow::Slowest,
            targets: Vec::new(),
        }
    }
}

impl Config {
    /// Every class name: `other`, `wal`, then the configured ones. The place is the class's number.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        let mut out = vec![OTHER.to_owned(), WAL.to_owned()];
        for (class, _) in self.targets.iter().flat_map(|target| &target.files) {
            if !out.contains(class) {
                out.push(class.clone());
            }
        }
        out
    }

    /// The target of a name, made when there is none.
    pub fn target_mut(&mut self, name: &str) -> Result<&mut Target, ConfigError> {
        check_label("target", name)?;
        let index = self.targets.iter().position(|target| target.name == name).unwrap_or_else(|| {
            self.targets.push(Target { name: name.to_owned(), ..Target::default() });
            self.targets.len() - 1
        });
        Ok(&mut self.targets[index])
    }

    /// Puts in the default target where none was given, and what profiles know; checks what only the whole can show.
    pub fn finish(mut self) -> Result<Self, ConfigError> {
        self.default_target()?;
        for target in &mut self.targets {
            if let Some(profile) = target.profile {
                profile.complete(target)?;
            }
        }
        if let Some(target) = self.targets.iter().find(|target| target.processes.is_empty()) {
            return bad!(
                "target {:?} has no rule for its processes; give it one of comm, exe, cgroup, unit, pid (for example --target {}:comm={}*)",
                target.name,
                target.name,
                target.name
            );
        }
        let rules =
            self.targets.iter().flat_map(|target| &target.processes).map(|rule| rule.globs().len()).sum::<usize>();
        let names = self.targets.iter().flat_map(|target| &target.files);
        let names = names.filter(|(_, pattern)| matches!(pattern, FilePattern::Name(_))).count();
        for (what, count, max) in [
            ("targets", self.targets.len(), MAX_TARGETS),
            ("rules for processes (a unit counts twice)", rules, MAX_PROCESS_RULES),
            ("rules for file names", names, MAX_CLASS_RULES),
            ("classes", self.classes().len(), MAX_CLASSES),
        ] {
            if count > max {
                return bad!("{count} {what} are more than the kernel side holds ({max}); merge some with globs");
            }
        }
        Ok(self)
    }
}

/// A label's value that a name may become: short, and easy to write in a query.
pub fn check_label(what: &str, name: &str) -> Result<(), ConfigError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > MAX_ITEMS || !name.bytes().all(fine) {
        return bad!(
            "{what} name {name:?} is not allowed: use letters, digits, `_`, `-` and `.`, at most {MAX_ITEMS} of them"
        );
    }
    Ok(())
}

/// The name of a capability that can be done without.
pub fn parse_without(name: &str) -> Result<String, ConfigError> {
    let optional = CAPABILITIES.iter().filter(|one| !one.required).map(|one| one.name);
    if optional.clone().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    if CAPABILITIES.iter().any(|known| known.name == name) {
        return bad!("capability {name} cannot be done without");
    }
    unknown("capability", name, optional, "what to do without")
}

/// `NAME:KEY=PATTERN` of `--target`.
pub fn parse_target_flag(text: &str) -> Result<(String, ProcessPattern), ConfigError> {
    let (name, key, pattern) = split_flag("--target", "NAME:KEY=PATTERN", text)?;
    check_label("target", &name)?;
    Ok((name, ProcessPattern::new(find_key(&key, "--target")?, &pattern)?))
}

/// `NAME:CLASS=DIR` of `--class`.
pub fn parse_class_flag(text: &str) -> Result<(String, String, FilePattern), ConfigError> {
    let (name, class, pattern) = split_flag("--class", "NAME:CLASS=DIR", text)?;
    check_label("target", &name)?;
    check_class(&class)?;
    Ok((name, class, FilePattern::new(&pattern)?))
}

fn check_class(class: &str) -> Result<(), ConfigError> {
    check_label("class", class)?;
    if class == OTHER {
        return bad!("class {OTHER:?} is what is left over, and has no directory of its own");
    }
    Ok(())
}

fn split_flag(flag: &str, form: &str, text: &str) -> Result<(String, String, String), ConfigError> {
    let parts =
        text.split_once(':').and_then(|(name, rest)| rest.split_once('=').map(|(key, value)| (name, key, value)));
    match parts {
        Some((name, key, value)) => Ok((name.to_owned(), key.to_owned(), value.to_owned())),
        None => bad!("{flag} {text:?} is not of the form {form}"),
    }
}

fn find_key(key: &str, at: &str) -> Result<Key, ConfigError> {
    match KEYS.iter().find(|(word, _)| *word == key) {
        Some((_, key)) => Ok(*key),
        None => unknown("key", key, KEYS.iter().map(|(word, _)| *word), at),
    }
}

fn unknown<'w, T>(
    what: &str,
    key: &str,
    words: impl Iterator<Item = &'w str> + Clone,
    at: &str,
) -> Result<T, ConfigError> {
    let nearest = words.clone().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
    let all: Vec<&str> = words.collect();
    bad!("unknown {what} {key:?} in {at}; did you mean {:?}? (known: {})", nearest.unwrap_or(""), all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse_toml(text).and_then(Config::finish).unwrap_err().0
    }

    #[test]
    fn a_whole_file() {
        let config = parse_toml(
            "listen = '127.0.0.1:1'\n[[target]]\nname = 'db'\ncomm = ['a*', 'b']\npid = 7\n[target.class]\nwal = '/w'\nstore = ['/s', '*.sst']\n",
        )
        .and_then(Config::finish)
        .unwrap();
        assert_eq!(config.classes(), ["other", "wal", "store"]);
        let target = &config.targets[0];
        assert_eq!(target.processes.len(), 3);
        assert_eq!(target.files[2], ("store".to_owned(), FilePattern::Name("*.sst".to_owned())));
    }

    #[test]
    fn an_empty_file_watches_stemedb() {
        let config = parse_toml("").and_then(Config::finish).unwrap();
        let rules = crate::targets::rules::Rules::compile(&config);
        let matching = ["stemedb", "stemedbd", "stemedb-server", "stemedb-probe", "postgres"]
            .map(|comm| rules.by_comm(comm.as_bytes()));
        assert_eq!(matching, [Some(0), Some(0), Some(0), None, None]);
    }

    #[test]
    fn errors_name_the_key_and_the_nearest_right_one() {
        assert!(error("listn = 'x'").contains("did you mean \"listen\"?"));
        assert!(error("[[target]]\nname='a'\ncom='b'").contains("did you mean \"comm\"?"));
        assert!(error("[[target]]\nname='a'").contains("no rule for its processes"));
        assert!(error("[[target]]\nname='a'\ncomm='0123456789abcdef'").contains("0123456789abcde*"));
        assert!(error("[[target]]\nname='a\"'\ncomm='x'").contains("not allowed"));
        assert!(error("[[target]]\nname='a'\npid=0").contains("not a process id"));
        assert!(error("[[target]]\nname='a'\ncomm='x'\n[target.class]\nwal='w/x'").contains("absolute path"));
        assert!(error("[[target]]\nname='a'\ncomm='x'\n[target.class]\nother='/x'").contains("left over"));
        assert!(error("without = ['shed']").contains("did you mean \"sched\"?"));
        assert!(error("without = ['sync']").contains("cannot be done without"));
        assert!(error("listen = 7").contains("not a string"));
        assert!(error("= 7").contains("TOML"));
    }

    #[test]
    fn flags() {
        let (name, rule) = parse_target_flag("db:unit=postgresql@15-main").unwrap();
        assert_eq!((name.as_str(), rule.globs().len()), ("db", 2));
        assert!(parse_target_flag("db=x").unwrap_err().0.contains("NAME:KEY=PATTERN"));
        assert!(parse_target_flag("db:conm=x").unwrap_err().0.contains("\"comm\""));
        assert_eq!(parse_class_flag("db:wal=*-wal").unwrap().2, FilePattern::Name("*-wal".to_owned()));
        assert_eq!(parse_class_flag("db:wal=wal/").unwrap().2, FilePattern::Anywhere("wal".to_owned()));
        assert!(parse_class_flag("db:wal=w*/").unwrap_err().0.contains("globs are for file names"));
    }
}
